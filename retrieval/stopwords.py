"""Words too common to search by, English and Russian, in lower case with ё as е."""

from __future__ import annotations

_ENGLISH = """
a about above after again against all am an and any are as at be because been before being below between both but by
can could did do does doing down during each few for from further had has have having he her here hers herself him
himself his how i if in into is it its itself just me more most my myself no nor not now of off on once only or other
our ours ourselves out over own s same she should so some such t than that the their theirs them themselves then there
these they this those through to too under until up very was we were what when where which while who whom why will
with would you your yours yourself yourselves
"""

_RUSSIAN = """
а без бы был была были было быть в вам вас весь во вот все всего всех всю вы где да даже для до его ее ей ему если
есть еще ею же за здесь и из или им ими их к как какая какие каким какова каково каковы какой какую когда которая
которое которого которой котором которую которые который которым которых кто ли либо между меня мне много мной мог
может можно мой моя мы на над надо нам нами нас наш наша наше наши не него нее ней нем нет ни них но ну о об однако он
она они оно от очень по под после потому при про с сам само самый свои своего своей свой свою себе себя со так также
такие такой там те тебе тебя тем теми то тобой тогда того тоже той только том тот ту ты у уже хотя чего чей чем через
что чтобы чье чья эта эти этим этих это этого этой этом этот эту я
"""

STOP_WORDS: frozenset[str] = frozenset((_ENGLISH + _RUSSIAN).split())
