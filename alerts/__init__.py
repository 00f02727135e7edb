"""Alerts: incidents that the fraud team works on, and the notifier that sends each person one message per channel."""
