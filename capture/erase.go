package capture

import "time"

// Erase blanks what identifies the visitor and tells whether there was
// anything. What reports count by stays, but for the sub-IDs, which may be any
// value that the page before knew of the visitor.
func (c *Click) Erase() bool {
	if c.Flags&FlagErased != 0 {
		return false
	}
	c.UserAgent, c.Referer, c.Address, c.URL = "", "", "", ""
	c.Subs, c.Kept = nil, nil
	c.Flags |= FlagErased
	return true
}

// Erase blanks what identifies the visitor and tells whether there was
// anything.
func (c *Conversion) Erase() bool {
	if len(c.Subs) == 0 && c.Flags&FlagErased != 0 {
		return false
	}
	c.Subs = nil
	c.Flags |= FlagErased
	return true
}

// ErasedAt blanks an entry that arrived before its click was erased, and tells
// whether there was anything; a zero time means that it never was. A postback can
// wait for days on the disk of a node that is cut off, and must not bring back who
// was erased meanwhile. What arrives later is news, and kept as any other.
func (e *Entry) ErasedAt(at time.Time) bool { return e.Time.Before(at) && e.Erase() }

// Erase blanks what identifies the visitor and tells whether there was
// anything. What the postback claimed stays. An entry that waits in quarantine
// has nothing left by which it could be booked again, so it waits no longer.
func (e *Entry) Erase() bool {
	waiting := e.Waiting()
	r := &e.Raw
	if !waiting && e.Sender == "" && e.Detail == "" && len(e.Notes) == 0 && r.Host == "" && r.URI == "" && r.ContentType == "" &&
		r.UserAgent == "" && len(r.Body) == 0 {
		return false
	}
	if waiting {
		e.Resolved = e.Seq
	}
	e.Sender, e.Detail, e.Notes, e.Raw = "", "", nil, Raw{Method: r.Method}
	return true
}
