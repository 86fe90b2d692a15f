"""The other side of the link: who is up, commands for one device or all, what they tell. Over any broker."""
