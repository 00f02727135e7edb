"""Alerts: messages to the fraud team, each sent once."""
