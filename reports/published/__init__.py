"""Numbers that papers print, as facts to stand beside ours."""
