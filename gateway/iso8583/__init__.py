"""Card switches ask in ISO 8583 over TCP, and are answered with the same decisions as by HTTP.

`listener` takes connections, `connection` cuts them into messages, and `desk` answers one message.
"""
