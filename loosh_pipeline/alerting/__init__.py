"""Alerts: what somebody should look at now, told to a webhook once, again while it stands, and when it is over."""
