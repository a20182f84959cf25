import random

color = random.choice(['red', 'blue'])
