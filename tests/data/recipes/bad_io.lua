local file = io.open("/etc/hostname")
-- says: 1: 'io' is not available here
