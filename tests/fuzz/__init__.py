"""What a fuzzer tries: properties of bytes, each held against an oracle that was written another way."""
