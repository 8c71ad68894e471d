"""The viewer: a run's samples in a browser, each with its image, the boxes and masks on it, the whole conversation and every score.

rows.py           a run's two row files as one index, read as far as they are written, kept in a cache of the user's
conversation.py   every request and response about a sample, put back in order from the store
pictures.py       a sample's images, found by the row or by the task, and made anew so that no foreign byte reaches a browser
viewed.py         one run: all that a page asks of it, by number
server.py         the same over HTTP, on this machine alone
export.py         the same as a folder of files
static/           the page: one HTML file, one style sheet, plain scripts
"""
