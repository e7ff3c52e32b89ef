package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const secretsSite = `{
	admin $ADMIN
	debug
	log {
		format filter {
			request>uri query {
				replace token REDACTED
			}
			request>remote_ip ip_mask 24 48
			request>client_ip ip_mask 24 48
			request>headers>X-Forwarded-For delete
		}
	}
	servers {
		trusted_proxies static 127.0.0.1/32
	}
	capture {
		store badger $STORE
		click_id_key $KEYS
	}
}
http://127.0.0.1:$PORT {
	log
	track_click /go/* https://offer.example/?cid={click_id}
	postback /env {
		token {env.POSTBACK_TOKEN}
		allow_http
	}
	postback /file {
		token {file.$DIR/token}
		allow_http
	}
	respond "the site"
}
`

func TestSecrets(t *testing.T) {
	secrets := map[string]string{
		"token of the environment": "environment-token-7f3a9c",
		"token of a file":          "file-token-51be02d4",
		"first key":                "click-id-key-alpha-0123456789abcdef",
		"second key":               "click-id-key-omega-fedcba9876543210",
		"visitor's address":        "198.51.100.203",
	}
	s := newServer(t, secretsSite, "$KEYS", "{env.FIRST_KEY}")
	s.env = append(s.env, "POSTBACK_TOKEN="+secrets["token of the environment"], "FIRST_KEY="+secrets["first key"])
	for name, secret := range map[string]string{"token": "token of a file", "key": "second key"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(secrets[secret]+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	visitor := "X-Forwarded-For: " + secrets["visitor's address"]
	old := s.click("/go/acme", "cid", visitor)
	s.expectPostback(t, "/env?txid=1&cid="+old+"&token="+secrets["token of the environment"], foreign)
	s.expectPostback(t, "/file?txid=2&cid="+old, foreign, bearer+secrets["token of a file"])
	for _, target := range []string{"/env?cid=" + old + "&token=guess", "/env?cid={cid}&token=" + secrets["token of the environment"], "/file?cid=" + old, "/env?cid=nonsense"} {
		s.get(target, foreign)
	}

	s.reload(strings.Replace(secretsSite, "$KEYS", "{file.$DIR/key} {env.FIRST_KEY}", 1))
	fresh := s.click("/go/acme", "cid", visitor)
	for _, id := range []string{old, fresh} {
		s.expectPostback(t, "/env?txid=3&cid="+id+"&token="+secrets["token of the environment"], foreign)
	}
	t.Run("a click keeps its name", func(t *testing.T) { s.expectNames(t, old, fresh) })
	for _, id := range []string{old, fresh} {
		if a := s.api("/capture/clicks/" + id); strings.Contains(a.body, secrets["visitor's address"]) || !strings.Contains(a.body, "198.51.100.") {
			t.Errorf("the click's address is not truncated: %s", a.body)
		}
	}
	if a := s.api("/capture/journal"); strings.Contains(a.body, secrets["token of the environment"]) || strings.Contains(a.body, secrets["token of a file"]) {
		t.Errorf("the journal keeps a token: %s", a.body)
	}
	s.stop()
	for name, secret := range secrets {
		for line := range strings.Lines(s.logs()) {
			if strings.Contains(line, secret) {
				t.Errorf("the log has the %s: %s", name, line)
				break
			}
		}
	}
}

// expectNames checks that the IDs which senders know are those in every answer.
func (s *server) expectNames(t *testing.T, ids ...string) {
	lookUp(t, s, ids...)
	for _, target := range []string{"/capture/conversions", "/capture/journal?outcome=recorded"} {
		for _, id := range column(s.all(target), "click_id") {
			if !slices.Contains(ids, id) {
				t.Errorf("%s names click %s, which nobody was given", target, id)
			}
		}
	}
}

func (s *server) expectPostback(t *testing.T, target string, headers ...string) {
	t.Helper()
	if a := s.get(target, headers...); a.status != 200 {
		t.Errorf("%s: status %d %s", target, a.status, a.body)
	}
}
