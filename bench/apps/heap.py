"""Objects of every size, as many as HEAP says: so the allocator's pools are filled differently in each process."""

import os

OBJECTS = [bytes(size) for size in range(8, 500, 16) for _ in range(int(os.environ.get("HEAP", "0")))]
