"""The device as one of many: the MQTT link, commands, telemetry, model updates."""
