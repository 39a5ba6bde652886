"""Room of the doctor: whether a site can keep its promises on this machine, and what to do where it can't."""
