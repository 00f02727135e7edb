"""Changes of what decides, by four eyes: somebody proposes, somebody else puts it into force. See `Proposals`."""
