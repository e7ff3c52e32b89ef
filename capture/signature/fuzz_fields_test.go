package signature

import (
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzJVZoo compares with the scheme written down a second time: nothing passes
// that it does not make, and whatever the form, what it makes does.
func FuzzJVZoo(f *testing.F) {
	f.Add("ctransaction=SALE&ctransreceipt=R1&ctransamount=4700&caffitid=x&cverify=00000000", "SECRETKEY")
	f.Add("a=1&b=2&cverify=8b7a1c2D", "k")
	f.Add("a=1&a=2&%61=3&cverify=zz", "k")
	f.Add("b=%zz&=&;&cverify=", "k")
	f.Add("cverify=00000000&cverify=00000000", "k")
	f.Fuzz(func(t *testing.T, body, secret string) {
		if secret == "" {
			return
		}
		m := newMessage("POST", "https://example.com/", body, now)
		m.Request.Header.Set("Content-Type", formType)
		_, err := must(NewJVZoo([][]byte{[]byte(secret)})).Verify(m)
		passes := verdict(t, err) == "ok"
		fields, err := url.ParseQuery(body)
		if err != nil {
			if passes && !strings.Contains(body, ";") { // which ParseQuery refuses
				t.Fatalf("%q passes, and is no form", body)
			}
			return
		}
		var names []string
		once := true
		for name, values := range fields {
			if name != "cverify" {
				names = append(names, name)
			}
			once = once && len(values) == 1
		}
		slices.Sort(names)
		text := ""
		for _, name := range names {
			text += fields.Get(name) + "|"
		}
		sum := sha1.Sum([]byte(text + secret))
		right := hex.EncodeToString(sum[:4])
		if passes != (once && strings.EqualFold(fields.Get("cverify"), right)) {
			t.Fatalf("%q, each field once: %t, passes: %t, right is %s", body, once, passes, right)
		}
		if fields.Has("cverify") {
			return
		}
		m.Body = []byte(body + "&cverify=" + strings.ToUpper(right))
		if _, err := must(NewJVZoo([][]byte{[]byte("another" + secret), []byte(secret)})).Verify(m); (err == nil) != once {
			t.Fatalf("%q, each field once: %t, rightly signed: %v", m.Body, once, err)
		}
	})
}

// FuzzSharedSecret: wherever the field stands and however it is written, no
// message passes in which the secret is not, and one with the right field does.
func FuzzSharedSecret(f *testing.F) {
	f.Add("payout=1", "WP_ACTION=sale&key=tok", formType, "tok")
	f.Add("key=tok&KEY=tok", "", "", "tok")
	f.Add("key=%74ok", `{"key":"tok","key":"x"}`, "application/json", "tok")
	f.Add("", `{"Key":{"key":"tok"},"a":["`, "application/json", "tok")
	f.Add("key=", "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\ntok\r\n--b--", "multipart/form-data; boundary=b", "tok")
	f.Add("a=1;key=tok&%zz&=", "\x00\xff", "text/plain", "a+b&\xff")
	f.Fuzz(func(t *testing.T, query, body, contentType, secret string) {
		if secret == "" {
			return
		}
		plain := must(NewSharedSecret("key", [][]byte{[]byte("other"), []byte(secret)}, ""))
		hashed := must(NewSharedSecret("key", [][]byte{[]byte(secret)}, "{field.id}:{secret}"))
		message := func(query, body string) *Message {
			m := newMessage("POST", "https://example.com/postback", body, now)
			m.Request.URL.RawQuery, m.Request.RequestURI = query, "/postback?"+query
			m.Request.Header.Set("Content-Type", contentType)
			return m
		}
		m := message(query, body)
		_, err := plain.Verify(m)
		if verdict(t, err) == "ok" {
			value, err := parameter(m, "key", "secret", anyPart)
			if err != nil || value != secret && value != "other" {
				t.Fatalf("%q with body %q passes: %q, %v", query, body, value, err)
			}
		}
		_, err = hashed.Verify(m)
		if verdict(t, err) == "ok" {
			id, err := parameter(m, "id", "value", anyPart)
			value, failed := parameter(m, "key", "hash", anyPart)
			if want := fmt.Sprintf("%x", md5.Sum([]byte(id+":"+secret))); err != nil || failed != nil || !strings.EqualFold(value, want) {
				t.Fatalf("%q with body %q passes: %q is not %s", query, body, value, want)
			}
		}
		if _, err := plain.Verify(message("key="+url.QueryEscape(secret), "")); err != nil {
			t.Fatalf("secret %q in the query: %v", secret, err)
		}
		if _, err := plain.Verify(message("key="+url.QueryEscape(secret+"x"), "")); err == nil && secret+"x" != "other" {
			t.Fatalf("the secret %q passes with an x behind it", secret)
		}
		right := fmt.Sprintf("id=7&key=%x", md5.Sum([]byte("7:"+secret)))
		if _, err := hashed.Verify(message(right, "")); err != nil {
			t.Fatalf("secret %q, hash in the query: %v", secret, err)
		}
		if _, err := hashed.Verify(message(strings.Replace(right, "7", "8", 1), "")); err == nil {
			t.Fatalf("secret %q: the hash of 7 passes for 8", secret)
		}
	})
}
