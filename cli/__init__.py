"""The `vedette` command: one file per room, no logic."""
