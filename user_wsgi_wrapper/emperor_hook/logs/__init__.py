"""The command `logs`: a site's three logs as records, with their rotated and compressed files, merged by time."""
