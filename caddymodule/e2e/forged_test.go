package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Secrets of the site under attack. No sender's secret is the same as another's.
const (
	forgedToken  = "k7Q2-the-token-of-the-route-9fXw"
	forgedSecret = "the-secret-of-the-webhook-Zt41"
	stripeSecret = "whsec_not_a_real_one_0123456789"
)

func hmacHex(secret, text string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// stripeHeader is the signature of a body, made at that time.
func stripeHeader(secret, body string, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "Stripe-Signature: t=" + t + ",v1=" + hmacHex(secret, t+"."+body)
}

// A request is one message to the site.
type request struct {
	method, target, body string
	headers              []string
}

// A forgery is a kind of postback that nobody may send. Its number makes each one different.
type forgery struct {
	name   string
	make   func(n int) request
	route  string
	status int
	reason string
	share  int // how many of a hundred forged requests are of this kind
}

func get(target string, headers ...string) request { return request{"GET", target, "", headers} }

func post(target, body string, headers ...string) request {
	return request{"POST", target, body, headers}
}

// forgedID has the form of a click ID.
func forgedID() string {
	const digits = "0123456789abcdefghijklmnopqrstuv"
	id := make([]byte, 26)
	for i := range id {
		id[i] = digits[rand.IntN(len(digits))]
	}
	id[25] = digits[4*rand.IntN(8)]
	return string(id)
}

func forgedSale(id string, n int) string {
	return fmt.Sprintf("click_id=%s&txid=forged-%d&payout=99.00&currency=USD", id, n)
}

func forgedJSON(id string, n int) string {
	return fmt.Sprintf(`{"click_id":%q,"txid":"forged-%d","payout":"99.00","currency":"USD"}`, id, n)
}

// stripeSale is what Stripe sends when a checkout is paid.
func stripeSale(id, payment string) string {
	return `{"id":"evt_` + payment + `","object":"event","created":` + strconv.FormatInt(time.Now().Unix(), 10) +
		`,"type":"checkout.session.completed","data":{"object":{"id":"cs_` + payment + `","object":"checkout.session",` +
		`"amount_total":4900,"currency":"usd","client_reference_id":"` + id + `","mode":"payment","payment_intent":"pi_` + payment +
		`","payment_status":"paid"}}}`
}

// forgeries are all of them. A stranger can have a genuine click ID, and every visitor does; replayed is a
// signed message that he has overheard, with its signature.
func forgeries(id string, replayed request) []forgery {
	nearly := forgedToken[:len(forgedToken)-1] + "x"
	bomb := strings.Repeat(`{"a":[`, 400) + "1" + strings.Repeat("]}", 400)
	large := "X-Padding: " + strings.Repeat("p", 12<<10)
	old := time.Now().Add(-time.Hour)
	return []forgery{
		{"wrong token", func(n int) request { return get("/token?" + forgedSale(id, n) + "&token=guess-" + strconv.Itoa(n)) },
			"/token", 401, "bad_token", 10},
		{"token nearly right", func(n int) request { return get("/token?" + forgedSale(id, n) + "&token=" + nearly) },
			"/token", 401, "bad_token", 10},
		{"token with something behind it", func(n int) request {
			return post("/token", forgedSale(id, n)+"&token="+forgedToken+"x", form)
		}, "/token", 401, "bad_token", 5},
		{"bearer nearly right", func(n int) request { return post("/token", forgedJSON(id, n), jsonBody, bearer+nearly) },
			"/token", 401, "bad_token", 5},
		{"no token", func(n int) request { return get("/token?" + forgedSale(id, n)) }, "/token", 401, "bad_token", 5},
		{"large header", func(n int) request { return get("/token?"+forgedSale(id, n), large) }, "/token", 401, "bad_token", 3},
		{"made-up click ID", func(n int) request { return get("/open?" + forgedSale(forgedID(), n)) }, "/open", 400, "invalid_click_id", 12},
		{"click ID with a changed character", func(n int) request {
			i, c := n%25, "0123456789abcdefghijklmnopqrstuv"[n/25%32]
			if id[i] == c {
				c = 'w' // in no click ID
			}
			return get("/open?" + forgedSale(id[:i]+string(c)+id[i+1:], n))
		}, "/open", 400, "invalid_click_id", 8},
		{"no click ID", func(n int) request { return get("/open?txid=forged-" + strconv.Itoa(n)) }, "/open", 400, "missing_click_id", 3},
		{"macro", func(n int) request { return get("/open?" + forgedSale("{aff_sub}", n)) }, "/open", 400, "unresolved_macro", 3},
		{"another secret's signature", func(n int) request {
			body := forgedJSON(id, n)
			return post("/hmac", body, jsonBody, "X-Sig: sha256="+hmacHex("guess", body))
		}, "/hmac", 401, "bad_signature", 8},
		{"another message's signature", func(n int) request {
			return post("/hmac", forgedJSON(id, n), jsonBody, "X-Sig: sha256="+hmacHex(forgedSecret, forgedJSON(id, -1)))
		}, "/hmac", 401, "bad_signature", 5},
		{"no signature", func(n int) request { return post("/hmac", forgedJSON(id, n), jsonBody) }, "/hmac", 401, "bad_signature", 3},
		{"old message", func(n int) request {
			body := stripeSale(id, "old"+strconv.Itoa(n))
			return post("/stripe", body, jsonBody, stripeHeader(stripeSecret, body, old))
		}, "/stripe", 401, "stale_timestamp", 4},
		{"old message with a new timestamp", func(n int) request {
			body := stripeSale(id, "new"+strconv.Itoa(n))
			header := stripeHeader(stripeSecret, body, old)
			return post("/stripe", body, jsonBody, strings.Replace(header, "t="+strconv.FormatInt(old.Unix(), 10), "t="+strconv.FormatInt(time.Now().Unix(), 10), 1))
		}, "/stripe", 401, "bad_signature", 2},
		{"replayed message", func(int) request { return replayed }, "/stripe", 401, "replayed", 4},
		{"broken JSON", func(n int) request { return post("/open", forgedJSON(id, n)[1:]+"]", jsonBody) }, "/open", 400, "malformed_request", 3},
		{"deep JSON", func(int) request { return post("/open", bomb, jsonBody) }, "/open", 400, "malformed_request", 2},
		{"key twice", func(n int) request {
			return post("/open", `{"click_id":"x",`+forgedJSON(id, n)[1:], jsonBody)
		}, "/open", 400, "malformed_request", 2},
		{"compressed", func(n int) request {
			return post("/open", forgedJSON(id, n), jsonBody, "Content-Encoding: gzip")
		}, "/open", 400, "malformed_request", 1},
		{"large body", func(n int) request { return post("/small", forgedSale(id, n)+strings.Repeat("&x=1", 256), form) }, "/small", 413, "body_too_large", 1},
		{"other method", func(n int) request { return request{method: "DELETE", target: "/open?" + forgedSale(id, n)} },
			"/open", 405, "method_not_allowed", 1},
	}
}
