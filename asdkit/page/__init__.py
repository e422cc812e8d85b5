"""The report as a page that is looked at and listened to, from disk, without a network."""
