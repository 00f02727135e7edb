"""The people of the console: accounts, sign-in, sessions."""
