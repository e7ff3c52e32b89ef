package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-capture/caddy-capture/capture"
)

// ServeHTTP implements caddyhttp.MiddlewareHandler. It answers every request.
func (p *Postback) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	held, err := p.app.acquireWithin(capture.BookTimeout)
	if err != nil {
		return p.unavailable(w, r, err)
	}
	a := p.arrival(r)
	a.Codec = held.codec()
	p.boundBody(w, r)
	pb, reject := p.route.Receive(r, a)
	if reject != nil {
		if reject.Reason == capture.InvalidClickID && held.ledger.Identity().StandIn {
			// The ID may be genuine: nobody can tell without the store's key.
			return p.unavailable(w, r, fmt.Errorf("%w: the key of click IDs cannot be read", capture.ErrUnavailable))
		}
		return p.reject(w, a, reject)
	}
	if err := held.ledger.Book(r.Context(), pb); err != nil {
		return p.unavailable(w, r, err)
	}
	pb.Booked()
	return p.answer(w, pb)
}

// arrival tells what Caddy knows about how the request came.
func (p *Postback) arrival(r *http.Request) capture.Arrival {
	a := capture.Arrival{Time: time.Now(), Rules: p.app.rules}
	// Caddy's own reading of X-Forwarded-For: anything else could be forged.
	if ip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok {
		if addr, err := netip.ParseAddr(ip); err == nil {
			a.Sender = addr.Unmap().WithZone("")
		}
	}
	if orig, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && orig.RequestURI != r.RequestURI {
		a.Target = orig.RequestURI
	}
	if r.TLS != nil {
		a.Secure = true
		a.Early = !r.TLS.HandshakeComplete
	} else if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
		a.Secure = strings.EqualFold(strings.TrimSpace(proto), "https")
	}
	return a
}

// postbackBody is the answer to a postback. Its members and their order are a
// contract with senders.
type postbackBody struct {
	Outcome      capture.Outcome `json:"outcome"`
	Reason       capture.Reason  `json:"reason,omitempty"`
	Detail       string          `json:"detail,omitempty"`
	Notes        []string        `json:"notes,omitempty"`
	ConversionID string          `json:"conversion_id,omitempty"`
	ClickID      string          `json:"click_id,omitempty"`
	Campaign     string          `json:"campaign,omitempty"`
	Event        string          `json:"event,omitempty"`
	Status       string          `json:"status,omitempty"`
	Payout       string          `json:"payout,omitempty"`
	Currency     string          `json:"currency,omitempty"`
	Test         bool            `json:"test,omitempty"`
}

// answer tells the sender what became of a postback that is on disk.
func (p *Postback) answer(w http.ResponseWriter, pb *capture.Postback) error {
	res := &pb.Result
	// What a test does is answered and journaled like the real thing, and
	// counted nowhere.
	if !res.Test {
		countPostback(p.Name, string(res.Outcome), string(res.Reason))
		if res.Outcome == capture.Recorded {
			observeLag(res.Lag)
		}
	}
	body := describe(pb)
	if ce := p.logger.Check(zap.DebugLevel, "postback"); ce != nil {
		ce.Write(zap.String("route", p.Name), zap.String("outcome", string(body.Outcome)),
			zap.String("reason", string(body.Reason)), zap.String("conversion_id", body.ConversionID),
			zap.Uint64("journal", pb.Seq))
	}
	switch {
	case res.Outcome == capture.Quarantined:
		if suppressed, ok := p.quarantine.allow(); ok && !res.Test {
			p.logger.Warn("postback quarantined", zap.String("route", p.Name),
				zap.String("reason", string(res.Reason)), zap.String("detail", res.Detail),
				zap.Uint64("journal", pb.Seq), zap.Int64("suppressed", suppressed))
		}
		if p.answerAll {
			return writeFixed(w, p.Answer)
		}
		return writeBody(w, p.QuarantineStatus, &body)
	case p.Answer != nil:
		return writeFixed(w, p.Answer)
	}
	return writeBody(w, http.StatusOK, &body)
}

func describe(pb *capture.Postback) postbackBody {
	res := &pb.Result
	b := postbackBody{Outcome: res.Outcome, Reason: res.Reason, Detail: res.Detail, Notes: pb.Notes, Test: res.Test}
	if pb.HasRef {
		b.ClickID = strings.ToLower(pb.ClickID)
	}
	if res.Entry != nil {
		b.Campaign = res.Entry.Campaign
	}
	c := res.Conversion
	if c == nil {
		return b
	}
	b.ConversionID = c.ID.String()
	b.Campaign, b.Event, b.Status = c.Campaign, c.State.Event, c.State.Status.String()
	if c.State.HasPayout {
		b.Payout, b.Currency = c.State.Payout.Format(), string(c.State.Payout.Currency)
	}
	return b
}

// reject answers a postback that is not authentic, or not one at all, or that
// says nothing to book. It costs no disk: the log is bounded, too.
func (p *Postback) reject(w http.ResponseWriter, a capture.Arrival, rej *capture.Reject) error {
	outcome := rej.Outcome()
	countPostback(p.Name, string(outcome), string(rej.Reason))
	if outcome == capture.Ignored {
		if p.Answer != nil {
			return writeFixed(w, p.Answer)
		}
	} else if suppressed, ok := p.rejects.allow(); ok {
		p.logger.Warn("postback rejected", zap.String("route", p.Name), zap.Int("status", rej.Status),
			zap.String("reason", string(rej.Reason)), zap.String("detail", rej.Detail),
			zap.String("sender", p.app.address.Keep(a.Sender)), zap.Int64("suppressed", suppressed))
	}
	if rej.Allow != "" {
		w.Header().Set("Allow", rej.Allow)
	}
	if outcome == capture.Unavailable {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
	}
	return writeBody(w, rej.Status, &postbackBody{Outcome: outcome, Reason: rej.Reason, Detail: rej.Detail})
}

// unavailable tells the sender to come again: nothing was booked, as far as
// is known, and a repeat is harmless in any case.
func (p *Postback) unavailable(w http.ResponseWriter, r *http.Request, err error) error {
	countPostback(p.Name, string(capture.Unavailable), "")
	gone := r.Context().Err() != nil
	if suppressed, ok := p.failures.allow(); ok && !gone {
		p.logger.Error("postback not booked: the sender was told to come again",
			zap.String("route", p.Name), zap.Error(err), zap.Int64("suppressed", suppressed))
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
	return writeBody(w, http.StatusServiceUnavailable, &postbackBody{
		Outcome: capture.Unavailable,
		Detail:  "the store cannot take it now; nothing was booked: send it again later",
	})
}

func writeBody(w http.ResponseWriter, status int, body *postbackBody) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	return write(w, status, "application/json", append(data, '\n'))
}

func writeFixed(w http.ResponseWriter, a *PostbackAnswer) error {
	contentType := "text/plain; charset=utf-8"
	if s := strings.TrimSpace(a.Body); (strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[")) && json.Valid([]byte(s)) {
		contentType = "application/json"
	}
	return write(w, a.Status, contentType, []byte(a.Body))
}

func write(w http.ResponseWriter, status int, contentType string, data []byte) error {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if status != http.StatusNoContent && status != http.StatusResetContent {
		h.Set("Content-Type", contentType)
		h.Set("Content-Length", strconv.Itoa(len(data)))
	}
	w.WriteHeader(status)
	if len(data) == 0 {
		return nil
	}
	// The answer is given: if it cannot be delivered, the sender comes again
	// and gets a duplicate.
	_, _ = w.Write(data)
	return nil
}

// boundedLog lets through so many lines that a flood of requests cannot fill
// the disk by way of the log.
type boundedLog struct {
	limit      *rate.Limiter
	suppressed atomic.Int64
}

func newBoundedLog() *boundedLog {
	return &boundedLog{limit: rate.NewLimiter(rate.Every(10*time.Second), 5)}
}

// allow tells whether to log, and how many lines were left out since it did.
func (b *boundedLog) allow() (suppressed int64, ok bool) {
	if !b.limit.Allow() {
		b.suppressed.Add(1)
		return 0, false
	}
	return b.suppressed.Swap(0), true
}
