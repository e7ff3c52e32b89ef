package caddymodule

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// The placeholders that a click leaves for what comes after it.
const (
	placeholderClickID  = "http.capture.click_id"
	placeholderCampaign = "http.capture.campaign"
	placeholderSource   = "http.capture.source"
)

// ServeHTTP records the click and redirects.
func (t *TrackClick) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		repl = caddy.NewReplacer()
	}
	get := r.Method == http.MethodGet
	switch {
	case !get && r.Method != http.MethodHead:
		if t.Inject == "" {
			w.Header().Set("Allow", "GET, HEAD")
			return caddyhttp.Error(http.StatusMethodNotAllowed,
				fmt.Errorf("track_click takes GET and HEAD, not %s", r.Method))
		}
		repl.Map(noClick)
		return next.ServeHTTP(w, r)
	case t.Inject != "":
		return t.inject(w, r, repl, next)
	}
	t.redirect(w, r, repl, get)
	return nil
}

// redirect answers by itself. Only what is to be recorded waits.
func (t *TrackClick) redirect(w http.ResponseWriter, r *http.Request, repl *caddy.Replacer, record bool) {
	s := scratches.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	defer s.release()
	c := t.newClick(s, r, repl)
	d := t.choose()
	s.url = d.expand(s.url[:0], &s.visit, t.pass)
	c.Destination = d.text
	if string(s.url) != d.text {
		c.URL = string(s.url)
	}
	m := t.mint()
	var ticket capture.Ticket
	if record && m.ledger != nil {
		ticket = m.record(c, r)
	} else {
		c.Fit()
		c.Ref = m.unrecorded(c.Time)
	}
	location := withID(s.url, m.codec, c.Ref)
	repl.Map((&clickPlaceholders{click: c, codec: m.codec}).value)
	if record {
		t.settle(m, c, ticket)
	}
	values := []string{location, "no-store"} // one allocation for both
	h := w.Header()
	h["Location"], h["Cache-Control"] = values[:1:1], values[1:]
	w.WriteHeader(t.Status)
}

// mint is what IDs are minted with. Without a ledger, nothing can be recorded.
type mint struct {
	ledger *capture.Ledger
	codec  *clickid.Codec
	epoch  uint16
	// left is what remains of max_wait.
	left time.Duration
}

// mint returns the ledger, or what gives a well-formed ID without it.
func (t *TrackClick) mint() mint {
	left := time.Duration(t.MaxWait)
	lease := t.app.held.Load()
	if lease == nil {
		start := time.Now()
		var err error
		if lease, err = t.app.acquireWithin(left); err != nil {
			t.warn(t.closed, zapcore.ErrorLevel, "the store cannot be used: visitors are redirected, clicks are lost",
				zap.Error(err))
			return mint{codec: t.codec().Codec}
		}
		left -= time.Since(start)
	}
	return mint{ledger: lease.ledger, codec: lease.codec(), epoch: lease.ledger.Identity().Epoch, left: left}
}

// unrecorded returns the place of a click that is not kept.
func (m mint) unrecorded(at time.Time) clickid.Ref {
	return clickid.Ref{
		Epoch: m.epoch, Block: rand.Uint64N(clickid.MaxBlock + 1), Slot: clickid.Unrecorded, //nolint:gosec // no secret
		Second: uint32(at.Unix()), //nolint:gosec // good until 2106
	}
}

// record queues the click, which must not be changed afterwards.
func (m mint) record(c *capture.Click, r *http.Request) capture.Ticket {
	c.Fit()
	c.Key = m.codec.Signer()
	if len(r.URL.RawQuery)+len(r.URL.Path)+len(r.RequestURI)+len(header(r.Header, "User-Agent"))+
		len(header(r.Header, "Referer")) > capture.MaxClick {
		ownStrings(c)
	}
	return m.ledger.Record(c)
}

// settle waits for a click to be on disk and counts it.
func (t *TrackClick) settle(m mint, c *capture.Click, ticket capture.Ticket) {
	saved := capture.SavedNever
	if m.ledger != nil {
		saved = m.ledger.Wait(ticket, m.left)
	}
	if saved == capture.SavedNever {
		countClick(c.Campaign, "lost")
		if m.ledger != nil {
			t.warn(t.lost, zapcore.ErrorLevel, "a click could not be queued and is lost; the visitor was redirected",
				zap.String("campaign", c.Campaign))
		}
		return
	}
	countClick(c.Campaign, clickKind(c.Flags))
	if c.Flags&capture.FlagMacro != 0 {
		t.warnMacro(c)
	}
	if saved == capture.SavedLater {
		countClick(c.Campaign, "late")
		t.warn(t.late, zapcore.WarnLevel, "a visitor was redirected before the click was on disk; it stays queued",
			zap.String("campaign", c.Campaign), zap.Duration("max_wait", time.Duration(t.MaxWait)))
	}
}

// choose picks a destination by weight.
func (t *TrackClick) choose() *destination {
	n := len(t.destinations)
	if n == 1 {
		return t.destinations[0]
	}
	x := rand.IntN(t.weights[n-1]) //nolint:gosec // no secret
	for i, sum := range t.weights {
		if x < sum {
			return t.destinations[i]
		}
	}
	return t.destinations[n-1]
}

// clickPlaceholders answers the placeholders after a redirect.
type clickPlaceholders struct {
	click *capture.Click
	codec *clickid.Codec
}

func (p *clickPlaceholders) value(key string) (any, bool) {
	switch key {
	case placeholderClickID:
		return p.codec.Encode(p.click.Ref), true
	case placeholderCampaign:
		return p.click.Campaign, true
	case placeholderSource:
		return p.click.Source, true
	}
	return nil, false
}

// noClick answers the placeholders where there is no click: they are empty
// rather than unknown, or an upstream would be sent their names.
func noClick(key string) (any, bool) {
	switch key {
	case placeholderClickID, placeholderCampaign, placeholderSource:
		return "", true
	}
	return nil, false
}

// fallbackCodec mints IDs while there is no store.
type fallbackCodec struct{ *clickid.Codec }

// fallbackFor returns what to mint IDs with while there is no store: with the
// configured keys, so that they are known as ours later, else with a key of
// this process.
func fallbackFor(keys [][]byte) func() fallbackCodec {
	if len(keys) > 0 {
		if c, err := clickid.New(keys...); err == nil {
			return func() fallbackCodec { return fallbackCodec{c} }
		}
	}
	return processCodec
}

var processCodec = sync.OnceValue(func() fallbackCodec {
	secret, err := clickid.NewSecret()
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	c, err := clickid.New(secret)
	if err != nil {
		panic(err) // only for secrets that are too short
	}
	return fallbackCodec{c}
})

// warn logs at a bounded rate and says how much it left out.
func (t *TrackClick) warn(b *boundedLog, level zapcore.Level, message string, fields ...zap.Field) {
	if suppressed, ok := b.allow(); ok {
		t.logger.Log(level, message, append(fields, zap.Int64("suppressed", suppressed))...)
	}
}
