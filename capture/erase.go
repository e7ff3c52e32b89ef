package capture

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
