package signature

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// now is when the samples are sent.
var now = time.Unix(1_700_000_000, 0)

// scheme is one way to sign, seen from the sender's side and written apart
// from what is tested.
type scheme struct {
	name string
	// verifier takes secrets as sign does.
	verifier func(secrets ...string) Verifier
	// sign makes an authentic message.
	sign func(secret string, at time.Time) *Message
	// secrets are three that fit the scheme; the third is never a right one.
	secrets [3]string
	// header or parameter is where the signature stands.
	header, parameter string
	// timed says that there is a timestamp.
	timed bool
	// open says that the body is not covered.
	open bool
	// folds says that the signature's letters can have either case.
	folds bool
	// rest are further headers that are needed.
	rest []string
}

const sampleBody = `{"id":"evt_1","amount":"12.50","note":"caf\u00e9"}`

func mac256(key, text string) []byte {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(text))
	return h.Sum(nil)
}

func config(c HMACConfig) func(secrets ...string) Verifier {
	return func(secrets ...string) Verifier {
		c := c
		for _, s := range secrets {
			c.Secrets = append(c.Secrets, []byte(s))
		}
		return must(NewHMAC(c))
	}
}

func simple(make func([][]byte) (Verifier, error)) func(secrets ...string) Verifier {
	return func(secrets ...string) Verifier {
		var list [][]byte
		for _, s := range secrets {
			list = append(list, []byte(s))
		}
		return must(make(list))
	}
}

// inHeader signs the body into a header.
func inHeader(name string, value func(secret string, at time.Time) string) func(string, time.Time) *Message {
	return func(secret string, at time.Time) *Message {
		m := newMessage("POST", "https://example.com/postback?x=1", sampleBody, now)
		m.Request.Header.Set("Content-Type", "application/json")
		m.Request.Header.Set(name, value(secret, at))
		return m
	}
}

var plainSecrets = [3]string{"whsec_first-secret", "whsec_second-secret", "whsec_third-secret"}

func hexBody(prefix string) func(string, time.Time) string {
	return func(secret string, _ time.Time) string {
		return prefix + hex.EncodeToString(mac256(secret, sampleBody))
	}
}

func base64Body(secret string, _ time.Time) string {
	return base64.StdEncoding.EncodeToString(mac256(secret, sampleBody))
}

func schemes() []scheme {
	list := []scheme{
		{name: "stripe", header: "Stripe-Signature", timed: true, folds: true, sign: inHeader("Stripe-Signature", func(secret string, at time.Time) string {
			return fmt.Sprintf("t=%d,v1=%x", at.Unix(), mac256(secret, fmt.Sprintf("%d.%s", at.Unix(), sampleBody)))
		})},
		{name: "paddle", header: "Paddle-Signature", timed: true, folds: true, sign: inHeader("Paddle-Signature", func(secret string, at time.Time) string {
			return fmt.Sprintf("ts=%d;h1=%x", at.Unix(), mac256(secret, fmt.Sprintf("%d:%s", at.Unix(), sampleBody)))
		})},
		{name: "github", header: "X-Hub-Signature-256", folds: true, sign: inHeader("X-Hub-Signature-256", hexBody("sha256="))},
		{name: "dub", header: "Dub-Signature", folds: true, sign: inHeader("Dub-Signature", hexBody(""))},
		{name: "rewardful", header: "X-Rewardful-Signature", folds: true, sign: inHeader("X-Rewardful-Signature", hexBody(""))},
		{name: "shopify", header: "X-Shopify-Hmac-Sha256", sign: inHeader("X-Shopify-Hmac-Sha256", base64Body)},
		{name: "woocommerce", header: "X-WC-Webhook-Signature", sign: inHeader("X-WC-Webhook-Signature", base64Body)},
		{name: "copecart", header: "X-Copecart-Signature", sign: inHeader("X-Copecart-Signature", base64Body)},
	}
	for i := range list {
		list[i].verifier = config(HMACConfig{Preset: list[i].name})
	}
	list = append(list, formSchemes()...)
	list = append(list, querySchemes()...)
	list = append(list, webhookSchemes()...)
	list = append(list, httpSchemes()...)
	for i := range list {
		if list[i].secrets[0] == "" {
			list[i].secrets = plainSecrets
		}
	}
	return list
}

// formSchemes sign the fields of a form, or encrypt a body.
func formSchemes() []scheme {
	fields := url.Values{"event": {"on_payment"}, "order_id": {"A B+C"}, "amount": {"47.00"}, "empty": {""}, "Zed": {"ü"}}
	send := func(name string, value func(secret string, names []string) string) func(string, time.Time) *Message {
		return func(secret string, _ time.Time) *Message {
			names := []string{"Zed", "amount", "empty", "event", "order_id"} // upper case first: in the order of bytes
			body := fields.Encode() + "&" + name + "=" + value(secret, names)
			m := newMessage("POST", "https://example.com/postback", body, now)
			m.Request.Header.Set("Content-Type", formType)
			return m
		}
	}
	return []scheme{
		{name: "digistore24", verifier: simple(NewDigistore24), parameter: "sha_sign", folds: true, sign: send("sha_sign", func(secret string, names []string) string {
			text := ""
			for _, n := range names {
				if v := fields.Get(n); v != "" {
					text += n + "=" + v + secret
				}
			}
			return fmt.Sprintf("%X", sha512.Sum512([]byte(text)))
		})},
		{name: "jvzoo", verifier: simple(NewJVZoo), parameter: "cverify", folds: true, sign: send("cverify", func(secret string, names []string) string {
			text := ""
			for _, n := range names {
				text += fields.Get(n) + "|"
			}
			return fmt.Sprintf("%X", sha1.Sum([]byte(text+secret)))[:8]
		})},
		{name: "warriorplus", open: true, parameter: "WP_SECURITYKEY", sign: send("WP_SECURITYKEY", func(secret string, _ []string) string { return secret }),
			verifier: simple(func(s [][]byte) (Verifier, error) { return NewSharedSecret("WP_SECURITYKEY", s, "") })},
		{name: "clickbank", verifier: simple(NewClickBank), sign: func(secret string, _ time.Time) *Message {
			m := newMessage("POST", "https://example.com/postback", sealClickBank(secret, `{"transactionType":"SALE","receipt":"R1","totalAccountAmount":12.5}`), now)
			m.Request.Header.Set("Content-Type", "application/json")
			return m
		}},
	}
}

func sealClickBank(secret, text string) string {
	key := fmt.Sprintf("%x", sha1.Sum([]byte(secret)))[:32]
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		panic(err)
	}
	pad := 16 - len(text)%16
	padded := append([]byte(text), slices.Repeat([]byte{byte(pad)}, pad)...)
	iv := []byte("0123456789abcdef")
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	out, err := json.Marshal(map[string][]byte{"notification": padded, "iv": iv})
	if err != nil {
		panic(err)
	}
	return string(out)
}

// querySchemes sign GET requests.
func querySchemes() []scheme {
	const query = "zeta=1&click_id=a%2Bb&amount=12.50&amount2="
	const sorted = "amount=12.50&amount2=&click_id=a%2Bb&zeta=1"
	get := func(query string) *Message {
		return newMessage("GET", "https://example.com/post%2Fback?"+query, "", now)
	}
	return []scheme{
		{name: "query", parameter: "sig", folds: true, verifier: config(HMACConfig{Parameter: "sig"}),
			sign: func(secret string, _ time.Time) *Message {
				return get("sig=" + hex.EncodeToString(mac256(secret, query)) + "&" + query)
			}},
		{name: "sorted query", parameter: "sig", verifier: config(HMACConfig{Parameter: "sig", Encoding: "base64", Payload: `{method}\n{path}\n{query_sorted}`}),
			sign: func(secret string, _ time.Time) *Message {
				mac := mac256(secret, "GET\n/post%2Fback\n"+sorted)
				return get(query + "&sig=" + base64.RawURLEncoding.EncodeToString(mac))
			}},
		{name: "query with time", parameter: "sig", folds: true, timed: true,
			verifier: config(HMACConfig{Parameter: "sig", Payload: "{query}", TimestampParameter: "ts"}),
			sign: func(secret string, at time.Time) *Message {
				timed := fmt.Sprintf("%s&ts=%d", query, at.Unix())
				return get(timed + "&sig=" + hex.EncodeToString(mac256(secret, timed)))
			}},
		{name: "fields", parameter: "sig", folds: true, timed: true,
			verifier: config(HMACConfig{Parameter: "sig", Algorithm: "sha1", Payload: `{field.click_id}|{field.amount}|{timestamp}`, TimestampParameter: "ts"}),
			sign: func(secret string, at time.Time) *Message {
				h := hmac.New(sha1.New, []byte(secret))
				fmt.Fprintf(h, "a+b|12.50|%d", at.UnixMilli())
				return get(fmt.Sprintf("%s&ts=%d&sig=%x", "click_id=a%2Bb&amount=12.50", at.UnixMilli(), h.Sum(nil)))
			}},
		{name: "cpx", parameter: "hash", open: true, folds: true,
			verifier: simple(func(s [][]byte) (Verifier, error) {
				return NewSharedSecret("hash", s, "{field.trans_id}-{secret}")
			}),
			sign: func(secret string, _ time.Time) *Message {
				return get(fmt.Sprintf("trans_id=T1&hash=%x", md5.Sum([]byte("T1-"+secret))))
			}},
	}
}

// webhookSchemes have an ID, a timestamp and a signature in three headers.
func webhookSchemes() []scheme {
	text := func(at time.Time) string { return fmt.Sprintf("msg_1.%d.%s", at.Unix(), sampleBody) }
	send := func(family string, signature func(secret string, at time.Time) string) func(string, time.Time) *Message {
		return func(secret string, at time.Time) *Message {
			m := newMessage("POST", "https://example.com/postback", sampleBody, now)
			m.Request.Header.Set(family+"id", "msg_1")
			m.Request.Header.Set(family+"timestamp", fmt.Sprint(at.Unix()))
			m.Request.Header.Set(family+"signature", signature(secret, at))
			return m
		}
	}
	encoded := func(prefix, key string) string { return prefix + base64.StdEncoding.EncodeToString([]byte(key)) }
	decoded := func(secret string) string {
		_, text, _ := strings.Cut(secret, "_")
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			panic(err)
		}
		return string(b)
	}
	secrets := [3]string{encoded("whsec_", "first-secret-of-24-bytes"), encoded("whsec_", "other-secret-of-24-bytes"), encoded("whsec_", "third-secret-of-24-bytes")}
	v1 := func(secret string, at time.Time) string {
		return "v1," + base64.StdEncoding.EncodeToString(mac256(decoded(secret), text(at)))
	}
	var keys [3]string
	private := map[string]ed25519.PrivateKey{}
	for i := range keys {
		k := ed25519.NewKeyFromSeed(slices.Repeat([]byte{byte(i + 1)}, 32))
		keys[i] = encoded("whpk_", string(k.Public().(ed25519.PublicKey)))
		private[keys[i]] = k
	}
	return []scheme{
		{name: "standard webhooks", secrets: secrets, header: "Webhook-Signature", timed: true, verifier: simple(NewStandardWebhooks),
			rest: []string{"Webhook-Id", "Webhook-Timestamp"}, sign: send("Webhook-", v1)},
		{name: "svix", secrets: secrets, header: "Svix-Signature", timed: true, verifier: simple(NewStandardWebhooks),
			rest: []string{"Svix-Id", "Svix-Timestamp"}, sign: send("Svix-", v1)},
		{name: "standard webhooks ed25519", secrets: keys, header: "Webhook-Signature", timed: true, verifier: simple(NewStandardWebhooks),
			rest: []string{"Webhook-Id", "Webhook-Timestamp"}, sign: send("Webhook-", func(secret string, at time.Time) string {
				return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(private[secret], []byte(text(at))))
			})},
		{name: "generic with id", header: "X-Sig", timed: true, folds: true, rest: []string{"X-Id", "X-Time"},
			verifier: config(HMACConfig{Header: "X-Sig", Prefix: "HMAC ", Algorithm: "sha512", Payload: "{id}.{timestamp}.{header.X-Id}.{body}", IDHeader: "X-Id", TimestampHeader: "X-Time"}),
			sign: func(secret string, at time.Time) *Message {
				m := newMessage("POST", "https://example.com/postback", sampleBody, now)
				time := at.UTC().Format(time.RFC3339)
				h := hmac.New(sha512.New, []byte(secret))
				h.Write([]byte("d1." + time + ".d1." + sampleBody))
				m.Request.Header.Set("X-Id", "d1")
				m.Request.Header.Set("X-Time", time)
				m.Request.Header.Set("X-Sig", fmt.Sprintf("HMAC %x", h.Sum(nil)))
				return m
			}},
	}
}
