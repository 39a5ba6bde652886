"""Where a site's cluster goes on a machine that has another."""

import socket

from edge_nodes.node import AGENT_PORT, node_address, refused


def test_a_cluster_beside_another_gets_an_address_whose_agent_port_is_free() -> None:
    first = node_address()
    with socket.create_server((first, AGENT_PORT)):
        second = node_address()

        assert second != first
        assert refused(first, AGENT_PORT)
        assert refused(second, AGENT_PORT) == ""
