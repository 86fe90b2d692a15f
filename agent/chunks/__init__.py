"""How a file is cut into chunks that travel alone: where the cuts are, the list of them, and blocks over MQTT."""
