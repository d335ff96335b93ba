"""The words of arithmetic: numbers, fractions, units, fillers.

These tables hold general English and metric or imperial facts only; a word that is missing makes a claim
`not_checkable`, never false.
"""

from __future__ import annotations

from fractions import Fraction


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"

NUMBER_WORDS = {word: value for value, word in enumerate(_ONES.split())} | {
    word: 10 * (index + 2) for index, word in enumerate(_TENS.split())
}
SCALE_WORDS = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
FRACTION_WORDS = {"half": Fraction(1, 2), "halves": Fraction(1, 2)} | {
    name + ending: Fraction(1, value)
    for value, names in {
        3: ("third",),
        4: ("quarter", "fourth"),
        5: ("fifth",),
        6: ("sixth",),
        7: ("seventh",),
        8: ("eighth",),
        9: ("ninth",),
        10: ("tenth",),
        100: ("hundredth",),
    }.items()
    for name in names
    for ending in ("", "s")
}
MULTIPLE_WORDS = {"twice": 2, "double": 2, "thrice": 3, "triple": 3, "quadruple": 4}

# Units outside the table: a relation between one of them and another unit is a conversion that isn't checked.
OTHER_UNITS = words("""
    nm μm µm pm Hz kHz MHz GHz W kW MW V kV mV A mA Ω kΩ J kJ MJ cal kcal Cal eV N kN Pa kPa atm bar mol mmol
    KB MB GB TB kB bit bits byte bytes acre acres hectare hectares ha mph kph kmph knots rpm degrees radians rad
    revolutions
""")
# A single letter is a unit only when it stands apart from its number: "5 m", but "5m" may be a product.
ATTACHED_UNITS = words("cm mm km kg mg ml mL ft lb lbs oz hr hrs min mins sec secs mph kWh kph cents am pm")

NAMED_FUNCTIONS = words("sqrt gcd lcm max min abs floor ceil log ln sin cos tan")
OPERATOR_WORDS = {
    "plus": "+",
    "minus": "-",
    "times": "*",
    "mod": "mod",
    "modulo": "mod",
}
STOP_WORDS = words("""
    is are was were be been being am equal equals equaling makes make making gives give giving gets get
    getting yields yield totals means mean becomes become came comes come amounts adds add added results
    result leaves leave leaving and or but so then thus hence therefore for in on at to from of with by
    into as than that which who whom this these those there here it its he she they we you his her their
    our your my if while when where because since although though however until before after during
    between have has had do does did will would can could should may might must plus minus times
    multiplied multiply divided divide subtracted subtract more less fewer greater mod modulo remainder
    simplifies expands factors not no let per about approximately roughly around nearly almost i
    """)
FILLERS = words("""
    a an the total of exactly just only another about approximately approx roughly around nearly almost
    some additional now simply value sum result
    """)
APPROXIMATE_WORDS = words("about approximately approx roughly around nearly almost")
# A number right after one of these is a name, as in "day 2" or "option 3".
LABEL_WORDS = words("""
    day days week month year hour minute step case option question problem part room house number no
    chapter page figure table equation round game test box bag team group level grade row column item
    person player section method scenario line age ages approach way stage phase trip quarter season set
    point class task example exercise rule condition statement lemma claim sample type plan
    """)
# Words after which a calculation begins afresh: what stands before them does not change its value.
CLEAN_WORDS = words("""
    so thus therefore hence then since because that and but as get have know calculate find compute is
    are be equals gives now where means just also which we has had was were like using be
    """)
