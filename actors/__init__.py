"""The rooms of a site: pure logic, its ports and adapters, and thin Ray shells."""
