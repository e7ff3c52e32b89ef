package capture

import (
	"strings"
	"sync"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// lookups are the readers of LookupClick: each has room for what it unpacks.
var lookups = sync.Pool{New: func() any { return new(BlockReader) }}

// LookupClick returns what booking wants of a click in a record of one block or
// of several, see [Store.ClickToBook], or nil if the click is not there. The
// other half of the record, where most of it is, stays packed.
func LookupClick(record []byte, ref clickid.Ref) (*Click, error) {
	r := lookups.Get().(*BlockReader) //nolint:forcetypeassert // the pool holds nothing else
	defer lookups.Put(r)
	if err := r.ResetFront(record); err != nil {
		return nil, err
	}
	f, p := &r.front, &r.first
	for _, b := range r.runs {
		for slot := range b.clicks {
			at := p.at
			base := r.base
			r.nextFront(f, &FrontFields{})
			here := clickid.Ref{
				Epoch: r.epoch, Block: b.number, Slot: uint8(slot), //nolint:gosec // below BlockClicks
				Second: uint32(f.Millis / 1000), //nolint:gosec // good until 2106
			}
			if here != ref {
				p.skipParams()
				continue
			}
			p.at, r.base = at, base
			r.nextFront(f, &namesOnly)
			c := &Click{
				Ref: ref, Time: f.time(), Flags: f.Flags, Campaign: f.Campaign, Source: f.Source, Destination: f.Destination,
				Subs: p.params(nil),
			}
			if !p.ok {
				return nil, errBlock
			}
			c.keep()
			return c, nil
		}
	}
	if !p.ok {
		return nil, errBlock
	}
	return nil, nil
}

// keep copies what LookupClick read, in one piece.
func (c *Click) keep() {
	texts := make([]*string, 0, 3+2*len(c.Subs))
	texts = append(texts, &c.Campaign, &c.Source, &c.Destination)
	for i := range c.Subs {
		texts = append(texts, &c.Subs[i].Name, &c.Subs[i].Value)
	}
	size := 0
	for _, t := range texts {
		size += len(*t)
	}
	var all strings.Builder
	all.Grow(size)
	for _, t := range texts {
		all.WriteString(*t)
	}
	whole := all.String()
	for _, t := range texts {
		*t, whole = whole[:len(*t)], whole[len(*t):]
	}
}
