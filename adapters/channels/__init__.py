"""Message channels: e-mail, SMS and WhatsApp (Twilio), webhooks, Amazon SNS and Apprise behind one port, `Channel`."""
