package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/network"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

func init() {
	caddy.RegisterModule(Postback{})
}

// Postback books the conversions that an advertiser or an affiliate network
// reports by server-to-server requests. It answers only when what it books is
// on disk. Without any configuration it understands the parameters of the
// common senders.
type Postback struct {
	// The name of the route in the journal, in metrics and in logs. The
	// Caddyfile takes the directive's matcher. Default: `postback`.
	Name string `json:"name,omitempty"`

	// The sender, as `caddy capture networks` lists them. It sets the
	// parameter names, statuses, events and the expected answer; what is
	// configured here besides goes first. Default: none.
	Network string `json:"network,omitempty"`

	// The one campaign whose conversions this route takes; a postback for
	// another one is quarantined. Default: all.
	Campaign string `json:"campaign,omitempty"`

	// The parameters in which the sender puts each field; of several the
	// first that is not empty is taken. Keys are `click_id`, `txid`, `payout`,
	// `currency`, `event`, `status`, `time` and `message_id`; a field that is
	// left out keeps its default. `a.b.c` walks into the objects of a JSON
	// body, `a.0` into its arrays, `a.*.b` into each element, `a[name=x].b`
	// into the one whose `name` is `x`. `header:X-Topic` is a header, and
	// `url?click_id` a parameter of a URL that is itself a value.
	Fields map[string][]string `json:"fields,omitempty"`

	// The sender's words for each status, in any case. Keys are `approved`,
	// `pending`, `rejected` and `reversed`, which are understood as they are
	// unless they are listed here. A word that is nowhere is quarantined.
	Statuses map[string][]string `json:"statuses,omitempty"`

	// The event of all postbacks of this route, whatever they say.
	Event string `json:"event,omitempty"`

	// What every conversion of this route earns, for example `12.50`,
	// whatever the postback says.
	Payout string `json:"payout,omitempty"`
	// The ISO 4217 currency of the payout.
	PayoutCurrency string `json:"payout_currency,omitempty"`

	// The ISO 4217 currency of a payout that names none.
	Currency string `json:"currency,omitempty"`

	// Secrets of which the sender must send one, in the parameter `token` or
	// as `Authorization: Bearer`. Placeholders such as `{env.TOKEN}` are
	// replaced at start.
	Tokens []string `json:"tokens,omitempty"`

	// Addresses and CIDR ranges from which postbacks are taken;
	// `private_ranges` stands for all private ones. Behind a proxy, the
	// server's `trusted_proxies` must be set.
	Allow []string `json:"allow,omitempty"`

	// What verifies the sender's signature, or whatever else it can prove. All
	// of them have to pass.
	VerifiersRaw []json.RawMessage `json:"verifiers,omitempty" caddy:"namespace=http.handlers.postback.verifiers inline_key=scheme"`

	// Takes postbacks over plain HTTP, too. Otherwise only those from this
	// machine are, since a token or a click ID can be read on the way.
	AllowHTTP bool `json:"allow_http,omitempty"`

	// The fixed answer to a postback that was booked, for senders that want
	// certain words. Default: that of the network's preset, which is then the
	// answer to what went to quarantine, too; else a JSON object that says what
	// was done.
	Answer *PostbackAnswer `json:"answer,omitempty"`

	// The status of the answer to a postback that went to quarantine: 200,
	// 202 or 422. Default: 202.
	QuarantineStatus int `json:"quarantine_status,omitempty"`

	// The largest body that is read, in bytes, at most 512 KiB. It has to arrive
	// within ten seconds. Default: that of the network's preset, else 64 KiB.
	MaxBody int64 `json:"max_body,omitempty"`

	app        *App
	sender     *network.Network // nil without one
	verifiers  []signature.Verifier
	schemes    []string          // of the verifiers
	answerAll  bool              // Answer is for what went to quarantine, too
	memory     *signature.Memory // of what came once, shared with later configurations
	memoryKey  string            // in memories, once it was taken
	route      *capture.Route
	logger     *zap.Logger
	rejects    *boundedLog
	quarantine *boundedLog
	failures   *boundedLog
	// bodyTimeout is how long a sender may take over the body.
	bodyTimeout time.Duration
}

// PostbackAnswer is a fixed answer.
type PostbackAnswer struct {
	// The status, from 200 to 299. Default: 200.
	Status int `json:"status,omitempty"`
	// The body. It is sent as JSON if it is a JSON object or array, else as
	// plain text. Default: empty.
	Body string `json:"body,omitempty"`
}

const (
	// maxMaxBody keeps a postback well below what a store takes in one write.
	maxMaxBody = 512 << 10
	// shortToken is the length below which a token can be guessed.
	shortToken = 8

	defaultRouteName = "postback"
)

// CaddyModule returns the Caddy module information.
func (Postback) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.postback", New: func() caddy.Module { return new(Postback) }}
}

// Provision sets the route up.
func (p *Postback) Provision(ctx caddy.Context) error {
	mod, err := ctx.App("capture")
	if err != nil {
		return fmt.Errorf("loading the capture app: %w", err)
	}
	p.app = mod.(*App)
	p.logger = p.app.logger.Named("postback")
	p.rejects, p.quarantine, p.failures = newBoundedLog(), newBoundedLog(), newBoundedLog()
	p.bodyTimeout = defaultBodyTimeout

	if err := p.findSender(); err != nil {
		return fmt.Errorf("postback %q: %w", p.Name, err)
	}
	if err := p.setDefaults(); err != nil {
		return fmt.Errorf("postback %q: %w", p.Name, err)
	}
	if err := p.loadVerifiers(ctx); err != nil {
		return fmt.Errorf("postback %q: %w", p.Name, err)
	}
	if p.route, err = p.compile(); err != nil {
		return fmt.Errorf("postback %q: %w", p.Name, err)
	}
	p.app.addPostback(p)
	return nil
}

// findSender looks up the preset and takes from it what the handler itself
// uses.
func (p *Postback) findSender() error {
	if p.Network == "" {
		return nil
	}
	var err error
	if p.sender, err = network.Find(p.Network); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	a := p.sender.Answer
	if p.Answer == nil && (a.Status != 0 || a.Body != "") {
		p.Answer = &PostbackAnswer{Status: a.Status, Body: a.Body}
		// A sender that wants certain words sends again until it gets them, also
		// what was taken and could not be booked.
		p.answerAll = p.QuarantineStatus == 0 && a.Body != ""
	}
	if p.MaxBody == 0 && p.sender.MaxBody > 0 {
		p.MaxBody = p.sender.MaxBody
	}
	if p.QuarantineStatus == 0 && a.Only200 {
		p.QuarantineStatus = http.StatusOK
	}
	return nil
}

// setDefaults fills in and checks what the handler itself uses.
func (p *Postback) setDefaults() error {
	if p.Name == "" {
		p.Name = defaultRouteName
	}
	if p.Answer != nil && p.Answer.Status == 0 {
		p.Answer.Status = http.StatusOK
	}
	if p.QuarantineStatus == 0 {
		p.QuarantineStatus = http.StatusAccepted
	}
	if p.MaxBody == 0 {
		p.MaxBody = capture.DefaultMaxBody
	}
	return errors.Join(checkAnswer(p.Answer), checkQuarantineStatus(p.QuarantineStatus), checkMaxBody(p.MaxBody))
}

func checkAnswer(a *PostbackAnswer) error {
	switch {
	case a == nil:
		return nil
	case a.Status < 200 || a.Status > 299:
		return fmt.Errorf("answer has the status %d; allowed are 200 to 299: it tells the sender that the postback is booked",
			a.Status)
	case a.Body != "" && (a.Status == http.StatusNoContent || a.Status == http.StatusResetContent):
		return fmt.Errorf("answer has the status %d, which has no body", a.Status)
	}
	return nil
}

func checkQuarantineStatus(status int) error {
	switch status {
	case http.StatusOK, http.StatusAccepted, http.StatusUnprocessableEntity:
		return nil
	}
	return fmt.Errorf("quarantine_status is %d; allowed are 200, 202 and 422", status)
}

func checkMaxBody(size int64) error {
	if size < 1 || size > maxMaxBody {
		return fmt.Errorf("max_body is %d bytes; allowed are 1B to 512KiB", size)
	}
	return nil
}

// compile makes the route of package capture out of the configuration.
func (p *Postback) compile() (*capture.Route, error) {
	rt := &capture.Route{
		Name: p.Name, Campaign: p.Campaign, Fields: readFields(p.Fields), Event: p.Event,
		AllowHTTP: p.AllowHTTP, MaxBody: p.MaxBody, Address: p.app.address, Verifiers: p.verifiers,
		Memory: p.memory,
	}
	var err error
	if rt.Statuses, err = readStatuses(p.Statuses); err != nil {
		return nil, err
	}
	if p.Payout != "" || p.PayoutCurrency != "" {
		if rt.Payout, err = parseMoney(p.Payout, p.PayoutCurrency); err != nil {
			return nil, fmt.Errorf("payout: %w", err)
		}
	}
	if p.Currency != "" {
		if rt.Currency, err = attribution.ParseCurrency(p.Currency); err != nil {
			return nil, fmt.Errorf("currency: %w", err)
		}
	}
	if rt.Tokens, err = resolveSecrets(p.Tokens); err != nil {
		return nil, fmt.Errorf("token %w", err)
	}
	for i, token := range rt.Tokens {
		if len(token) < shortToken {
			p.logger.Warn("the token is so short that it can be guessed",
				zap.String("route", p.Name), zap.Int("token", i+1), zap.Int("recommended_length", 2*shortToken))
		}
	}
	if rt.Allow, err = readPrefixes(p.Allow); err != nil {
		return nil, err
	}
	if p.sender != nil {
		p.sender.Preset(rt)
	}
	if err := rt.Compile(); err != nil {
		return nil, err
	}
	return rt, nil
}

// retryAfter is when a sender is told to come again.
const retryAfter = 30 * time.Second

// Cleanup gives back what Provision took.
func (p *Postback) Cleanup() error {
	if p.memoryKey == "" {
		return nil
	}
	_, err := memories.Delete(p.memoryKey)
	p.memoryKey = ""
	return err
}

// Interface guards.
var (
	_ caddy.CleanerUpper          = (*Postback)(nil)
	_ caddy.Provisioner           = (*Postback)(nil)
	_ caddyhttp.MiddlewareHandler = (*Postback)(nil)
)
