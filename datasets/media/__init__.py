"""Media files decoded: pictures, sound and subtitles, whatever is wrong with them."""
