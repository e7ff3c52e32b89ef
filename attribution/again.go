package attribution

import (
	"slices"
	"time"
)

// AddAgain is Add for a claim that has been counted, as it was read when it
// arrived, and is now read again: it has not arrived once more. Where it says
// something else now, that takes the place of what it said alone, also if
// others say the same.
func (h *History) AddAgain(c Claim, deadline time.Time) Change {
	c = c.canonical()
	before := h.State(deadline)
	i := slices.IndexFunc(*h, func(e Entry) bool { return e.Seq == c.Seq })
	if i >= 0 && (*h)[i].Seen == 1 && !(*h)[i].same(&c) {
		h.readAnew(i, c, deadline)
		return h.outcome(before, h.State(deadline))
	}
	if h.keyed(&c) >= 0 || h.find(&c) >= 0 {
		return h.outcome(before, before)
	}
	return h.Add(c, deadline)
}

// readAnew makes the entry at i, of a single arrival, say c. What it said was
// misread: left behind, it would go on counting.
func (h *History) readAnew(i int, c Claim, deadline time.Time) {
	changed := slices.Clone(*h)
	others := slices.Delete(slices.Clone(*h), i, i+1)
	if others.keyed(&c) >= 0 || others.find(&c) >= 0 {
		others.Add(c, deadline)
		changed = others
	} else {
		changed[i].Claim = c
	}
	*h = changed
}
