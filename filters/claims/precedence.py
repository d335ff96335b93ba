"""How tightly each operation binds; higher binds tighter."""

SUM = 10
PRODUCT = 20
IMPLIED = PRODUCT  # 2(3 + 4)
NEGATION = 25
TIGHT_IMPLIED = 27  # the loose reading of 1/2(3)
POWER = 40
