"""What the tests compare: a data set and methods that take a moment."""

DATA = "synthetic[pairs=120,image_width=12,text_width=9]"
DJSRH = "djsrh[epochs=2,text_hidden=8,batch_size=32]"
TOWERS = "two_tower[epochs=2,text_hidden=8,image_hidden=8,batch_size=32]"
