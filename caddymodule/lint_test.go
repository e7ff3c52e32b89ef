package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// rulesFound names the rules of findings.
func rulesFound(findings []Finding) string {
	var rules []string
	for _, f := range findings {
		rules = append(rules, f.Rule)
	}
	return strings.Join(rules, " ")
}

func TestLint(t *testing.T) {
	for _, tt := range []struct {
		name, option, directives, want string
	}{
		{"all is well", "", "postback /pb {\n token a-long-secret-token\n}\ntrack_click /go/a https://a.example/?sub={click_id}", ""},
		{"open", "", "postback /pb", "open_route"},
		{"an address is enough", "", "postback /pb {\n allow 192.0.2.1\n}", ""},
		{"a verifier is enough", "", "postback /pb {\n verify hmac {\n secret abc\n header X-Sig\n }\n}", ""},
		{"no click ID", "", "track_click /go/a https://a.example/", "no_click_id"},
		{"everything", "", "track_click https://a.example/?s={click_id}", "takes_everything"},
		{"all of a path", "", "handle_path /x/* {\n track_click https://a.example/?s={click_id}\n}", ""},
		{"inject takes nothing", "", "track_click {\n inject aff_sub\n}", ""},
		{"allow everyone", "", "postback /pb {\n allow 0.0.0.0/0\n}", "allow_everyone"},
		{"allow everyone in halves", "", "postback /pb {\n allow 0.0.0.0/1 128.0.0.0/1\n}", "allow_everyone allow_everyone"},
		{"the wrong verifier", "", "postback /pb {\n network digistore24-ipn\n verify clickbank secretsecret\n}", "unverified"},
		{"window", "window 100d", "", "window_outlives_clicks"},
		{"window of a campaign", "campaign a {\n window 91d\n}\ncampaign b {\n window 90d\n}", "", "window_outlives_clicks"},
		{"kept long enough", "window 100d\n retain {\n clicks 100d\n}", "", ""},
		{"kept for ever", "window 1000d\n retain {\n clicks forever\n}", "", ""},
		{"signs, and nothing verifies", "", "postback /pb {\n network stripe\n token a-long-secret-token\n}", "unverified"},
		{"signs, and is open", "", "postback /pb {\n network stripe\n}", "open_route"},
		{"verified", "", "postback /pb {\n network stripe\n verify hmac {\n secret abc\n }\n}", ""},
		{
			"link parameter", "", "postback /pb {\n network everflow\n token a-long-secret-token\n}\n" +
				"track_click /go/a https://a.example/?click={click_id}", "link_parameter",
		},
		{
			"link parameter fits", "", "postback /pb {\n network everflow\n token a-long-secret-token\n}\n" +
				"track_click /go/a https://a.example/?sub1={click_id}\ntrack_click /go/b https://b.example/?x={click_id}", "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			option := "capture {\n store memory " + newPlace(t, "") + "\n" + tt.option + "\n}"
			directives := tt.directives + "\ntrack_click /unused https://u.example/{click_id}"
			if tt.name == "link parameter" {
				directives = tt.directives
			}
			s.load(option, directives)
			if got := rulesFound(runningApp(t).Findings()); got != tt.want {
				t.Errorf("got %q, want %q: %v", got, tt.want, runningApp(t).Findings())
			}
		})
	}
}

// What only other machines see is not said of a site for this machine.
func TestLintTransport(t *testing.T) {
	for _, tt := range []struct{ name, site, servers, directive, want string }{
		{"this machine", "http://localhost:1", "", "token a-long-secret-token", ""},
		{"loopback", "http://127.0.0.1:1", "", "token a-long-secret-token", ""},
		{"others cannot call", "http://shop.example:1", "", "token a-long-secret-token", "plain_http"},
		{"in the clear", "http://shop.example:1", "", "token a-long-secret-token\n allow_http", "token_in_clear"},
		{"behind a proxy", "http://shop.example:1", "trusted_proxies static 10.0.0.1", "token a-long-secret-token", ""},
		{"in the clear behind a proxy", "http://shop.example:1", "trusted_proxies static 10.0.0.1", "token a-long-secret-token\n allow_http", "token_in_clear"},
		{"https", "https://shop.example:1", "", "token a-long-secret-token", ""},
		{"trusts everyone", "https://shop.example:1", "trusted_proxies static 0.0.0.0/0 ::/0", "allow 192.0.2.1", "trusts_every_proxy trusts_every_proxy"},
		{"trusts a proxy", "https://shop.example:1", "trusted_proxies static 10.0.0.1", "allow 192.0.2.1", ""},
		{"trusts and asks nothing", "https://shop.example:1", "trusted_proxies static 0.0.0.0/0", "token a-long-secret-token", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, err := adapt("{\n admin off\n auto_https disable_redirects\n capture {\n store memory " + newPlace(t, "") +
				"\n }\n servers {\n " + tt.servers + "\n }\n}\n" + tt.site + " {\n postback /pb {\n " + tt.directive + "\n }\n}")
			if err != nil {
				t.Fatal(err)
			}
			var cfg *caddy.Config
			if err := caddy.StrictUnmarshalJSON(data, &cfg); err != nil {
				t.Fatal(err)
			}
			found := lintedBy(t, cfg)
			if got := rulesFound(found); got != tt.want {
				t.Errorf("got %q, want %q: %v", got, tt.want, found)
			}
		})
	}
}

// lintedBy validates a configuration and returns what was found.
func lintedBy(t *testing.T, cfg *caddy.Config) []Finding {
	t.Helper()
	var found []Finding
	linted = func(a *App) { found = a.Findings() }
	defer func() { linted = nil }()
	if err := caddy.Validate(cfg); err != nil {
		t.Fatal(err)
	}
	return found
}
