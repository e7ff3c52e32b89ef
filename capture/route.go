package capture

import (
	"crypto/sha256"
	"net/netip"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Field is a canonical field of a postback.
type Field string

// The canonical fields.
const (
	FieldClickID  Field = "click_id"
	FieldTxID     Field = "txid"
	FieldPayout   Field = "payout"
	FieldCurrency Field = "currency"
	FieldEvent    Field = "event"
	FieldStatus   Field = "status"
	FieldTime     Field = "time"
)

// Fields lists all canonical fields.
var Fields = []Field{FieldClickID, FieldTxID, FieldPayout, FieldCurrency, FieldEvent, FieldStatus, FieldTime}

// DefaultFields returns the parameter names that a route understands without
// configuration, first choice first.
func DefaultFields() map[Field][]string {
	return map[Field][]string{
		FieldClickID:  {"click_id", "clickid", "cid", "subid", "aff_sub", "sub1", "s2s_click_id"},
		FieldTxID:     {"txid", "tid", "transaction_id", "transactionid", "order_id"},
		FieldPayout:   {"payout", "amount", "sum", "revenue"},
		FieldCurrency: {"currency", "cur"},
		FieldEvent:    {"event", "goal", "et"},
		FieldStatus:   {"status"},
		FieldTime:     {"time", "timestamp"},
	}
}

// DefaultMaxBody is the largest body that a route takes unless configured.
const DefaultMaxBody = 64 << 10

// DefaultEvent is the event of a postback that names none.
const DefaultEvent = "conversion"

// Route is one configured postback route. [Route.Compile] has to have
// succeeded before the first [Route.Receive]; after it the Route must not
// change, and it is safe for concurrent use.
type Route struct {
	// Name is the label for journal and metrics.
	Name string
	// Campaign is the one campaign whose clicks the route takes; "" is any.
	Campaign string
	// Fields are the parameter names of each field, first non-empty wins.
	// Dots walk into JSON: a.b.c into objects, a.0 into arrays. Fields that
	// are missing get the defaults.
	Fields map[Field][]string
	// Statuses are the sender's words; case does not matter. The canonical
	// words work as well, unless they are mapped to something else here.
	Statuses map[string]attribution.Status
	// Event is a fixed event. Default: the sender's, else "conversion".
	Event string
	// Payout is a fixed payout that replaces the sender's; no currency means
	// none.
	Payout attribution.Money
	// Currency holds where the postback names none.
	Currency attribution.Currency
	// Tokens are the secrets, one of which the sender has to send.
	Tokens [][]byte
	// Allow lists the networks that senders may come from; empty is any.
	Allow []netip.Prefix
	// AllowHTTP permits plain HTTP, in which tokens travel in the clear.
	AllowHTTP bool
	// MaxBody is the largest body taken, in bytes. Default: 64 KiB.
	MaxBody int64
	// Address says how a sender's address is kept.
	Address AddressMode

	// written: what is read was written by the owner, who knows names as the
	// journal has them.
	written bool

	// What Compile makes of the above.
	wanted   map[string][]target // by lower-case parameter name
	statuses map[string]attribution.Status
	tokens   [][sha256.Size]byte
	allow    []netip.Prefix
}

// Arrival is what the server knows of a request beyond the request itself.
type Arrival struct {
	// Sender is the sender's address by the server's trusted-proxies rules.
	Sender netip.Addr
	// Secure says that the request arrived by TLS, here or at a trusted
	// proxy.
	Secure bool
	// Early says that it arrived in TLS early data, where it can be a replay.
	Early bool
	Time  time.Time
	Rules *Rules
	Codec *clickid.Codec
}
