"""Which variants met stated needs in given results. Pure: from results alone; no score, no ranking.

``needs``: what can be asked; ``promises``, ``promised``: what modes declare; ``measured``, ``broken``: what was seen; ``facts``: all of
a variant as rules; ``answers``: rules against needs; ``command``: the verb.
"""
