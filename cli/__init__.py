"""The `vedette` command: one file per group of commands, which reads options and prints results."""
