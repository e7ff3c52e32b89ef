package capture

import (
	"crypto/sha256"
	"net/netip"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/signature"
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
	// FieldMessageID is the sender's own ID of one delivery: the same one seen
	// twice is a repeat, whatever happened in between.
	FieldMessageID Field = "message_id"
)

// Fields lists all canonical fields.
var Fields = []Field{FieldClickID, FieldTxID, FieldPayout, FieldCurrency, FieldEvent, FieldStatus, FieldTime, FieldMessageID}

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
	// Fields are the parameters of each field, first non-empty wins; of those
	// for the click ID the first that has a genuine one does. See
	// [CheckParameter] for how they are written. Fields that are missing get the
	// defaults.
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
	// Verifiers all have to pass, in their order, after the sender's address
	// and the token (unless that is in the body).
	Verifiers []signature.Verifier
	// Memory is what was proved once and must not be proved again. One that
	// outlives a reload can be handed in; Compile makes one if it is nil.
	Memory *signature.Memory
	// Unwrap is the form field whose value is the real body, as JSON. The
	// form's other fields are read as well.
	Unwrap string
	// Kinds are the kinds of message that come to this one route; the first
	// that fits decides. None: all messages are read alike. A message that
	// none fits is quarantined.
	Kinds []Kind
	// Minor says that amounts are in the minor unit of their currency, like
	// cents. A [Kind] can say otherwise.
	Minor bool
	// Major are parameters whose amounts are in whole units all the same, such
	// as what the shop itself put into its checkout's messages.
	Major []string

	// written: what is read was written by the owner, who knows names as the
	// journal has them.
	written bool

	// What Compile makes of the above.
	match    matcher
	fields   fieldParams
	token    []int // by their numbers in match, as all parameters are
	unwrap   []int
	major    []int
	all      []int // those of which all values are wanted
	kinds    []kind
	byTxID   bool // one of the kinds goes by the txid
	statuses map[string]attribution.Status
	tokens   [][sha256.Size]byte
	allow    []netip.Prefix
	decoders []signature.Decoder
	secrets  []string // parameters
	shielded []string // the same, but for the token, which is masked anyhow
	proof    string   // what the route's own authentication, having passed, rests on
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
	// Target is the request's target as it was sent, if something in front of
	// the route has rewritten it: signatures cover what was sent.
	Target string
	Time   time.Time
	Rules  *Rules
	Codec  *clickid.Codec
}
