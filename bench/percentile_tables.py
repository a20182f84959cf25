def render(raw): pass
def text(raw): return ''
