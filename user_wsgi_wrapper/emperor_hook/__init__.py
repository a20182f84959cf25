"""What runs on the web server, outside every chroot, as root."""
