"""Features: catalogue, the one kernel for online and offline, state codec and store."""
