package network

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

var (
	arrivalTime = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	codec       = func() *clickid.Codec {
		c, err := clickid.New([]byte("0123456789abcdef"))
		if err != nil {
			panic(err)
		}
		return c
	}()
	clickID = codec.Encode(clickid.Ref{Epoch: 3, Block: 77, Slot: 5, Second: uint32(arrivalTime.Unix()) - 86400})
)

// signed stands for the verifiers of senders: what is signed says so in the
// place of the signature.
type signed struct{}

func (signed) Name() string { return "test" }

func (signed) Verify(m *signature.Message) (signature.Proof, error) {
	if m.Request.Header.Get("X-WC-Webhook-Signature") == "" && m.Field("webhook_id") != "" {
		return signature.Proof{}, &signature.Failure{Kind: signature.BadSignature, Detail: "there is no signature"}
	}
	return signature.Proof{}, nil
}

// payload is one request of testdata: what senders send, and what it says.
type payload struct {
	network, name, want string
	fields              map[capture.Field][]string
	currency            attribution.Currency
	request             *http.Request
}

func readPayload(tb testing.TB, path string) *payload {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	p := &payload{network: filepath.Base(filepath.Dir(path)), name: strings.TrimSuffix(filepath.Base(path), ".http")}
	head, body, _ := strings.Cut(string(text), "\n\n")
	for strings.HasPrefix(head, "# ") {
		var line string
		line, head, _ = strings.Cut(head, "\n")
		key, value, _ := strings.Cut(strings.TrimPrefix(line, "# "), ": ")
		switch key {
		case "want":
			p.want = value
		case "click_id":
			p.fields = map[capture.Field][]string{capture.FieldClickID: {value}}
		case "currency":
			p.currency = attribution.Currency(value)
		default:
			tb.Fatalf("%s: unknown option %q", path, key)
		}
	}
	fill := strings.NewReplacer("CLICK", clickID, "UPPER", strings.ToUpper(clickID)).Replace
	lines := strings.Split(head, "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	p.request = httptest.NewRequest(method, fill(target), strings.NewReader(fill(strings.TrimSuffix(body, "\n"))))
	for _, line := range lines[1:] {
		key, value, ok := strings.Cut(line, ": ")
		if !ok {
			tb.Fatalf("%s: header %q", path, line)
		}
		p.request.Header.Set(key, value)
	}
	return p
}

// describe says in a line what became of a postback.
func describe(p *capture.Postback, rej *capture.Reject) string {
	switch {
	case rej != nil && rej.Outcome() == capture.Ignored:
		return "passed over: " + rej.Detail
	case rej != nil:
		return fmt.Sprintf("rejected %d %v", rej.Status, rej)
	case p.Ignored != "":
		return "ignored: " + p.Ignored
	case p.Problem != "":
		return "quarantined " + string(p.Problem)
	}
	c := &p.Claim
	words := []string{c.Event, c.TxID, c.Status.String()}
	if c.TxID == "" {
		words[1] = "-"
	}
	if c.HasPayout {
		words = append(words, c.Payout.String())
	} else {
		words = append(words, "-")
	}
	if c.Refund {
		words = append(words, "refund")
	}
	if p.ByTxID {
		words = append(words, "by-txid")
	}
	if !c.SentAt.IsZero() {
		words = append(words, "sent", c.SentAt.UTC().Format(time.RFC3339Nano))
	}
	if c.Key != "" {
		words = append(words, "key", c.Key)
	}
	return strings.Join(words, " ")
}

// route is one as an integrator writes it: the network's name and no more than
// that needs.
func (p *payload) route(tb testing.TB) *capture.Route {
	tb.Helper()
	n, err := Find(p.network)
	if err != nil {
		tb.Fatal(err)
	}
	rt := &capture.Route{
		Name: p.network, Fields: p.fields, Currency: p.currency, Verifiers: []signature.Verifier{signed{}},
	}
	n.Preset(rt)
	if err := rt.Compile(); err != nil {
		tb.Fatal(err)
	}
	return rt
}

func newArrival() capture.Arrival {
	return capture.Arrival{
		Sender: netip.MustParseAddr("203.0.113.77"), Secure: true, Time: arrivalTime, Rules: &capture.Rules{}, Codec: codec,
	}
}

// received is what the payload of that name claims.
func received(tb testing.TB, name string) attribution.Claim {
	tb.Helper()
	p := readPayload(tb, "testdata/"+name+".http")
	got, rej := p.route(tb).Receive(p.request, newArrival())
	if rej != nil || got.Problem != "" || got.Ignored != "" {
		tb.Fatalf("%s: %s", name, describe(got, rej))
	}
	return got.Claim
}

func TestPayloads(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*/*.http")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no payloads: %v", err)
	}
	for _, path := range paths {
		p := readPayload(t, path)
		t.Run(p.network+"/"+p.name, func(t *testing.T) {
			t.Parallel()
			got, rej := p.route(t).Receive(p.request, newArrival())
			text := describe(got, rej)
			if text != p.want {
				detail := ""
				if got != nil {
					detail = got.ProblemDetail + strings.Join(got.Notes, "; ")
				}
				t.Errorf("got  %s\nwant %s\n%s", text, p.want, detail)
			}
			if got == nil || got.Problem != "" || got.Ignored != "" || got.ByTxID {
				return
			}
			if !got.HasRef || !strings.EqualFold(got.ClickID, clickID) {
				t.Errorf("the click is %q, not %q", got.ClickID, clickID)
			}
		})
	}
}

// Every sender that dictates what it sends has payloads to show for it.
func TestPayloadsForAll(t *testing.T) {
	t.Parallel()
	for _, n := range All() {
		if len(n.Fields) == 0 && len(n.Kinds) == 0 {
			continue
		}
		paths, err := filepath.Glob("testdata/" + n.Name + "/*.http")
		if err != nil || len(paths) == 0 {
			t.Errorf("%s has no payload in testdata", n.Name)
		}
		for i := range n.Kinds {
			if n.Kinds[i].Ignore == "" && !kindShown(t, n, i, paths) {
				t.Errorf("%s: kind %q has no payload in testdata", n.Name, n.Kinds[i].Name)
			}
		}
	}
}

// kindShown tells whether a payload comes out differently without the kind.
func kindShown(t *testing.T, n *Network, kind int, paths []string) bool {
	t.Helper()
	for _, path := range paths {
		p := readPayload(t, path)
		rt := &capture.Route{Name: p.network, Fields: p.fields, Currency: p.currency, Verifiers: []signature.Verifier{signed{}}}
		n.Preset(rt)
		rt.Kinds = append(rt.Kinds[:kind:kind], rt.Kinds[kind+1:]...)
		if len(rt.Kinds) == 0 {
			return true
		}
		if err := rt.Compile(); err != nil {
			t.Fatal(err)
		}
		got, rej := rt.Receive(p.request, newArrival())
		if describe(got, rej) != p.want {
			return true
		}
	}
	return false
}

// The plain text of an encrypted message is read like any other.
func TestClickBankEncrypted(t *testing.T) {
	t.Parallel()
	v, err := signature.NewClickBank([][]byte{[]byte("MYSECRETKEY")})
	if err != nil {
		t.Fatal(err)
	}
	n, err := Find("clickbank-ins")
	if err != nil {
		t.Fatal(err)
	}
	rt := &capture.Route{Name: "ins", Verifiers: []signature.Verifier{v}}
	n.Preset(rt)
	if err := rt.Compile(); err != nil {
		t.Fatal(err)
	}
	const body = `{"notification":"mQHeGPlDZJh9iABayh3ku9h0gyTg2T/U4v9O3gXpz45FfbZU+CufHobummTecuMg","iv":"AAECAwQFBgcICQoLDA0ODw=="}`
	r := httptest.NewRequest(http.MethodPost, "/postback", bufio.NewReader(bytes.NewReader([]byte(body))))
	r.Header.Set("Content-Type", "application/json")
	got, rej := rt.Receive(r, newArrival())
	if text := describe(got, rej); text != "ignored: a test that somebody set off at ClickBank" {
		t.Errorf("got %s", text)
	}
}
