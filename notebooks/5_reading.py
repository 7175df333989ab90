# %% [markdown]
# # 5 · Reading a page
#
# A network that tells letters apart knows nothing of pages. Here it gets to read one: find the ink, cut it into
# letters, show them to the network as it is used to see them, put lines and words together. And then: what goes wrong.
#
# You will learn
#
# - how ink is found on a page, cut into letters and put into the form that a network knows,
# - how an error rate of a text is counted, and
# - which pages are hard, and why.
#
# Time: a minute and a half on two cores. Data: NIST36, single letters and digits by hand; where it is not there,
# letters of a few fonts stand in, and it says so, loudly: then the reader below has never seen handwriting. The outputs
# kept here are with handwriting in NIST36's form, **not NIST36**: 6,372 images of other collections, which the first
# cell takes where they are in `$DLCOURSE_DATA/nist36like`.

# %%
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from IPython.display import Image, display
from PIL import Image as Picture

from dlcourse import plots
from dlcourse.core.errors import InputError
from dlcourse.reading import Hand, compare, compose, find_ink, fit, load
from dlcourse.reading.form import centred
from dlcourse.reading.handwriting import draw
from dlcourse.reading.reader import open_reader
from dlcourse.studies.runs import load_run

LESS = os.environ.get("DLCOURSE_LESS", "")  # put at the end of each command, as "data.epochs=1"
LIKE = Path(os.environ.get("DLCOURSE_DATA", "")).expanduser() / "nist36like"
ROOT = 'data.root="$DLCOURSE_DATA/nist36like"' if LIKE.is_dir() else ""  # else data=nist36 looks for itself
os.chdir(tempfile.mkdtemp())  # runs go to a folder of their own


def show(figure):
    """A figure as reports have it."""
    display(Image(plots.png(figure)))


def annotated(page, reading, title):
    """The ink of a page with what was read."""
    boxes, texts = [x.box for x in reading.letters], [x.text for x in reading.letters]
    sure = [x.probability for x in reading.letters]
    show(plots.letter_boxes(1 - find_ink(page).darkness, boxes, texts, sure, title=title))


# %% [markdown]
# ## A reader
#
# A convnet on NIST36. Letters on a page are neither upright nor in the middle nor written with the same pen, so each
# training image is shifted, turned, sheared, scaled and its strokes made thicker or thinner, anew in each epoch. (The
# preset has 60 epochs, which bring another point of accuracy.)

# %%
# !python -m dlcourse.train experiment=cmu/reader data.epochs=20 hydra.run.dir=reader {ROOT} {LESS}

display(Image("reader/figures/confusion_matrix.png"))

# %% [markdown]
# I and 1, O and 0: many write them alike, and no network can tell which is meant. More of that below.
#
# ## A page and its ink
#
# A page whose text is known is made of test letters, which the reader has not seen: of many writers, all drawn with
# the same pen. Over this one falls a shadow. No threshold on the grey tells ink from shadow, so the *paper* is
# estimated first: a grey closing fills what is dark and narrow. Ink is the share of the paper's light that is missing.
# (Right at the shadow's edge a stroke may lose a little.)

# %%
reader = open_reader(Path("reader"))
data = load_run(Path("reader"))[1]
written = data.stored["test"].store
letters = {c: 1 - written.x[written.y == k, 0].numpy() / 255 for k, c in enumerate(data.classes)}  # 1 for ink

TEXT = "THE QUICK BROWN FOX\nJUMPS OVER\n13 LAZY DOGS"
plain = Hand(height=60, margin=0.6, noise=0)


def write(hand, seed=0, text=TEXT):
    return compose(text, letters, hand, np.random.default_rng(seed))


page = write(replace(plain, shadow=0.6), seed=2, text="LIGHT AND\nSHADOW")
show(plots.letter_boxes(np.hstack([page, 1 - find_ink(page).darkness]), [], [], [], title="A page, and its ink"))

# %% [markdown]
# ## As the network is used to see letters
#
# NIST36's letters fill most of a 32×32 image, and their strokes have a certain width. A letter of the page is brought
# into that form: scaled, and its strokes thinned or thickened with the distance transform. Whoever only scales shows
# the network letters with hairlines or bars, as it has never seen any.

# %%
print(f"letters of {reader.form.extent:.0f} pixels, strokes of {reader.form.thickness:.1f}")
shown = []
for c in "AR5":
    shown.append(1 - np.kron(letters[c][0], np.ones((4, 4))))
    for pen in (0.03, 0.2):
        shape = draw(letters[c][:1], Hand(pen=pen), np.random.default_rng(0), c)
        shown += [1 - centred(shape, 1, 128), np.kron(fit(shape, reader.form), np.ones((4, 4))) / 255]
captions = ["from the data", "a thin pen", "in form", "a broad pen", "in form"] + [""] * 10
show(plots.image_grid(np.array(shown), captions, columns=5))

# %% [markdown]
# ## Reading
#
# Connected ink makes pieces, pieces make lines. In a line, neighbouring pieces may be one letter (a broken stroke), and
# a wide piece may be several (letters that touch): **geometry proposes, the network disposes**. Of all ways through a
# line the one is taken whose letters are likeliest. A wide gap is a space. The code is `dlcourse.reading`, short
# files, to be read in the order that its first lines give; the command:

# %%
Picture.fromarray((255 * write(plain)).astype(np.uint8)).save("page.png")
Path("truth.txt").write_text(TEXT)

# !python -m dlcourse.read run=reader page=page.png truth=truth.txt turn=0 out=page

display(Image("page/letters.png"))

# %% [markdown]
# ## What doesn't matter, and what does
#
# In the picture kept here, a B brings a stray stroke from its data set, which is read, too.
#
# The same text by other hands, three pages each; the rate is edits per character. Shadow, tilt and white on black cost
# next to nothing. Two things cost a lot: **strokes with gaps**, since a part of a letter often looks like another
# letter, and **letters that touch**, since the right cuts have to be found, and two letters may look like one.

# %%
HANDS = {
    "plain": plain,
    "in a shadow": replace(plain, shadow=0.6),
    "white on black": replace(plain, negative=True),
    "tilted": replace(plain, tilt=3),
    "broken strokes": replace(plain, broken=0.6),
    "joined letters": replace(plain, gap=-0.05),
}
for name, hand in HANDS.items():
    pages = [write(hand, seed) for seed in range(3)]
    readings = [reader.read(page, turn=0) for page in pages]
    rate = np.mean([compare(TEXT, reading.text).error_rate for reading in readings])
    print(f"{name:15} {100 * rate:3.0f} %  {readings[0].text.replace(chr(10), ' / ')}")
    if name in ("broken strokes", "joined letters"):
        annotated(pages[0], readings[0], name.capitalize())

# %% [markdown]
# ## O or 0?
#
# No shape tells them apart, but the neighbours may: with `context=true` an O among digits is a 0, and a 0 among letters
# an O; so for I and 1, Z and 2, S and 5. It is off unless asked for, since it guesses: a word of nothing but such
# characters stays as it is, and one with a wrong letter may become worse.
#
# Upside-down, many letters are others (M and W, 6 and 9) or the same (O, X, S), so a page could be read that way, and
# nonsense would come out. But the network is surer of letters that stand upright, and that is how it is noticed
# (`turn=0` above switches that off). A page that lies on its side is noticed less often.

# %%
page, _ = load(Path("page.png"))
for context in (False, True):
    print(f"context={context}: {reader.read(page, turn=0, context=context).text.replace(chr(10), ' / ')}")
try:
    print(reader.read(np.rot90(page, 2)).text)
except InputError as error:
    print(error)

# %% [markdown]
# ## Exercises
#
# **1.** HELLO is read as HALO. What is the character error rate?
#
# <details><summary>Answer</summary>
#
# Two edits, E to A and an L that is missing, of five letters: 40 %. `compare("HELLO", "HALO").error_rate` says .4.
#
# </details>
#
# **2.** What does `context=true` make of B0OK, of 1O5 and of R2D2?
#
# <details><summary>Answer</summary>
#
# BOOK: its other characters are letters. 1O5 stays: each of its characters could be the other kind, so nothing speaks
# for either. R2D2 becomes RZDZ, since R and D are letters: it guesses, and that is why it is off unless asked for.
#
# </details>
#
# **3.** Why are a letter's strokes thinned or thickened before the network sees it, and not only scaled?
#
# <details><summary>Answer</summary>
#
# The network has learned on strokes of a certain width. A thin pen, scaled to the right height, leaves hairlines of a
# pixel or less, of which it has seen none; a broad one closes the holes of A, R and 8. The picture above has both,
# before and after. Your own handwriting is the test: a photo of capitals and digits on white paper, and `!python -m
# dlcourse.read run=reader page=/where/it/is.jpg`; train with the preset's 60 epochs first.
#
# </details>
