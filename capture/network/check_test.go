package network

import (
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture"
)

const (
	tokenBase = ourBase + "?token=correct-horse-battery"
	tokenEnd  = "&token=correct-horse-battery"
)

// good are the URLs as they should be, for what spoils them.
var good = map[string]string{
	"affise":  ourBase + "?click_id={sub1}&txid={transactionid}&payout={sum}&currency={currency}&event={goal}&status={status}",
	"cake":    ourBase + "?click_id=#s2#&txid=#tid#&payout=#price#&currency=USD",
	"prodege": ourBase + "?click_id={s1}&txid={conversion_id}&payout={payout}&currency=USD&event={event_id}&status={state}",
	"admitad": ourBase + "?click_id=[[[subid]]]&txid=[[[order_id]]]&payout=[[[payment_sum]]]&currency=[[[currency]]]&status=[[[payment_status]]]",
	"awin":    ourBase + "?click_id=!!!clickRef!!!&txid=!!!transactionId!!!&payout=!!!commission!!!&currency=!!!transactionCurrency!!!",
	"tune":    ourBase + "?click_id={aff_click_id}&txid={transaction_id}&payout={payout}&currency={currency}&event={goal_id}",
	"scaleo":  ourBase + "?click_id={aff_click_id}&txid={transaction_id}&payout={payout}&currency={offer_currency}&status={conv_status}",
}

// mistakes are made by people in the postback URLs of networks. Each is told
// by a finding that holds all of want, in the text or the fix.
var mistakes = []struct {
	name, network string
	old, new      string // what of the good URL is replaced by what
	severity      Severity
	want          []string
	fixed         string // the corrected URL, if not the good one
}{
	{"wrong brackets", "affise", "{sub1}", "[sub1]", Error, []string{"wrong brackets", "click_id={sub1}"}, ""},
	{"another network's brackets", "affise", "{sub1}", "#sub1#", Error, []string{"wrong brackets", "{sub1}"}, ""},
	{"double braces", "affise", "{sum}", "{{sum}}", Error, []string{"wrong brackets", "payout={sum}"}, ""},
	{"dollar braces", "affise", "{sum}", "${sum}", Error, []string{"wrong brackets", "payout={sum}"}, ""},
	{"braces in CAKE", "cake", "#s2#", "{s2}", Error, []string{"wrong brackets", "#s2#"}, ""},
	{"two brackets for three", "admitad", "[[[subid]]]", "[[subid]]", Error, []string{"wrong brackets", "[[[subid]]]"}, ""},
	{"wrong case", "affise", "{sub1}", "{SUB1}", Error, []string{"{sub1}", "capital letters"}, ""},
	{"wrong case in Awin", "awin", "!!!clickRef!!!", "!!!clickref!!!", Error, []string{"!!!clickRef!!!", "capital letters"}, ""},
	{"macro known elsewhere", "affise", "{sub1}", "{ymid}", Error, []string{"{ymid} is a macro of Zeydoo", "{sub1}"}, ""},
	{"another network's payout", "affise", "{sum}", "{payout_amount}", Error, []string{"Everflow", "payout={sum}"}, ""},
	{"macro of nobody", "affise", "{sub1}", "{clickid}", Error, []string{"not among the macros of Affise", "{sub1}"}, ""},
	{"macro of nobody for the event", "affise", "{goal}", "{my_goal}", Warning, []string{"not among the macros", "{goal}"}, "keep"},
	{"our placeholder", "affise", "{sub1}", "{click_id}", Error, []string{"our own placeholder", "click_id={sub1}"}, ""},
	{"payout's macro as click ID", "affise", "{sub1}", "{sum}", Error, []string{"for the payout", "{sub1}"}, ""},
	{"another macro as payout", "affise", "{sum}", "{order_sum}", Warning, []string{"something else", "{sum}"}, ""},
	{"points for money", "prodege", "{payout}", "{points}", Warning, []string{"something else", "{payout}"}, ""},
	{"another sub ID", "affise", "{sub1}", "{sub4}", Hint, []string{"sub4 of the offer link", "sub4={click_id}"}, "keep"},
	{"no click ID", "affise", "click_id={sub1}&", "", Error, []string{"click_id is missing", "click_id={sub1}"}, ""},
	{"no payout", "affise", "&payout={sum}", "", Error, []string{"payout is missing", "payout={sum}"}, ""},
	{"no currency", "affise", "&currency={currency}", "", Error, []string{"currency is missing", "not booked"}, ""},
	{"no txid", "affise", "&txid={transactionid}", "", Warning, []string{"txid is missing", "two sales"}, ""},
	{"no status", "affise", "&status={status}", "", Warning, []string{"status is missing", "taken back"}, ""},
	{"no currency anywhere", "cake", "&currency=USD", "", Hint, []string{"does not say what currency", "currency=USD"}, "keep"},
	{"AdGate without state", "prodege", "&status={state}", "", Warning, []string{"{state} is not in the URL", "reversals"}, ""},
	{"empty click ID", "affise", "{sub1}", "", Error, []string{"it is empty", "{sub1}"}, ""},
	{"empty txid", "affise", "{transactionid}", "", Warning, []string{"it is empty", "{transactionid}"}, ""},
	{"fixed click ID", "affise", "{sub1}", "12345", Error, []string{"fixed text", "{sub1}"}, ""},
	{"fixed txid", "affise", "{transactionid}", "1", Error, []string{"fixed text", "{transactionid}"}, ""},
	{"fixed payout", "affise", "{sum}", "12.50", Warning, []string{"every conversion earns 12.50", "{sum}"}, "keep"},
	{"payout that is none", "affise", "{sum}", "lots", Error, []string{"no amount", "{sum}"}, ""},
	{"currency that is none", "affise", "{currency}", "dollars", Error, []string{"no currency", "{currency}"}, ""},
	{"fixed status", "affise", "{status}", "approved", Warning, []string{"every conversion is approved"}, "keep"},
	{"status that is none", "affise", "{status}", "great", Error, []string{"no status", "{status}"}, ""},
	{"second question mark", "affise", "&txid", "?txid", Error, []string{"second ?"}, ""},
	{"ampersand for the question mark", "affise", "?click_id", "&click_id", Error, []string{"has to follow a ?"}, ""},
	{"http", "affise", "https:", "http:", Error, []string{"not https"}, ""},
	{"no scheme", "affise", "https://", "", Error, []string{"does not begin with https://"}, ""},
	{"another scheme", "affise", "https:", "ftp:", Error, []string{"ftp://"}, ""},
	{"another host", "affise", "example.com", "exmaple.com", Error, []string{"exmaple.com", "our site is example.com"}, ""},
	{"a user name", "affise", "example.com", "me@example.com", Error, []string{"user name"}, ""},
	{"another path", "affise", "/postback?", "/pb?", Error, []string{"/pb", "/postback"}, ""},
	{"path in capitals", "affise", "/postback?", "/Postback?", Error, []string{"capital letters matter"}, ""},
	{"slash at the end", "affise", "/postback?", "/postback/?", Error, []string{"/ at the end matters"}, ""},
	{"click ID in the path", "affise", "/postback?", "/postback/{sub1}?", Error, []string{"macro in the path"}, ""},
	{"percent-encoded braces", "affise", "{sub1}", "%7Bsub1%7D", Error, []string{"percent-encoded", "{sub1}"}, ""},
	{"twice percent-encoded braces", "affise", "{sub1}", "%257Bsub1%257D", Error, []string{"percent-encoded", "{sub1}"}, ""},
	{"percent-encoded hashes", "cake", "#s2#", "%23s2%23", Error, []string{"percent-encoded", "#s2#"}, ""},
	{"whole URL percent-encoded", "tune", "https://example.com/", "https%3A%2F%2Fexample.com%2F", Error, []string{"whole URL is percent-encoded"}, ""},
	{"escaped for HTML", "affise", "&", "&amp;", Error, []string{"&amp;"}, ""},
	{"blank", "affise", "&payout", " &payout", Error, []string{"blank in the URL"}, ""},
	{"line break", "affise", "&payout", "\r\n&payout", Error, []string{"line break in the URL"}, ""},
	{"blanks around", "affise", "https", "  https", Warning, []string{"blanks or line breaks around"}, ""},
	{"quotes around", "affise", "https", "\"https", Error, []string{"quotes or brackets around"}, ""},
	{"typographic quotes inside", "affise", "{sub1}", "\u201c{sub1}\u201d", Error, []string{"quotes in the URL"}, ""},
	{"invisible character", "affise", "{sub1}", "{su\u200bb1}", Error, []string{"invisible characters"}, ""},
	{"anchor", "affise", "&status", "#top&status", Error, []string{"# in the URL"}, "&top"},
	{"doubled ampersand", "affise", "&status", "&&status", Hint, []string{"does no harm"}, ""},
	{"unread parameter", "affise", "click_id=", "visitor=", Error, []string{"does not read visitor", "click_id={sub1}"}, ""},
	{"mistyped parameter", "affise", "payout=", "payuot_=", Error, []string{"does not read", "payout={sum}"}, ""},
	{"parameter with a dash", "affise", "&status", "&click-id=1&status", Warning, []string{"did you mean click_id"}, "keep"},
	{"harmless parameter", "affise", "&status", "&offer={offerid}&status", Hint, []string{"does not read offer"}, "keep"},
	{"parameter without a name", "affise", "&status", "&=x&status", Error, []string{"without a parameter's name"}, ""},
	{"two for one field", "affise", "&status", "&subid={sub2}&status", Warning, []string{"says the click_id", "click_id says as well"}, ""},
	{"decorated macro", "affise", "{sub1}", "id-{sub1}", Error, []string{"more in it than the macro"}, ""},
	{"two macros", "affise", "{sum}", "{sum}{currency}", Error, []string{"more in it than the macro"}, ""},
	{"token missing", "affise", tokenEnd, "", Error, []string{"token is missing"}, ""},
	{"token masked", "affise", "correct-horse-battery", "***", Error, []string{"not the token but what stands for it"}, ""},
	{"token's placeholder", "affise", "correct-horse-battery", "YOUR_TOKEN", Error, []string{"not the token but what stands for it"}, ""},
	{"wrong token", "affise", "correct-horse-battery", "correct-horse", Error, []string{"not the token of the route"}, ""},
	{"two tokens", "affise", tokenEnd, tokenEnd + "&token=x", Error, []string{"2 tokens"}, ""},
	{"nothing", "affise", "*", " ", Error, []string{"there is no URL"}, ""},
	{"a novel", "affise", "*", strings.Repeat("x", maxPasted+1), Error, []string{"cannot be a postback URL"}, ""},
	{"brackets of MaxBounty in Scaleo", "scaleo", "{aff_click_id}", "#S2#", Error, []string{"#S2# is a macro of MaxBounty"}, ""},
}

func TestCheckMistakes(t *testing.T) {
	t.Parallel()
	for _, tc := range mistakes {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n, right := find(t, tc.network), good[tc.network]+tokenEnd
			pasted := strings.ReplaceAll(right, tc.old, tc.new)
			if tc.old == "*" {
				pasted = tc.new
			}
			if pasted == right {
				t.Fatalf("%q is not in %s", tc.old, right)
			}
			found := Check(n, pasted, tokenBase)
			if !tells(found, tc.severity, tc.want) {
				t.Errorf("%s\ngot %v\nwant %s with %q", pasted, found, tc.severity, tc.want)
			}
			fixed, ok := Correct(n, pasted, tokenBase)
			if !ok {
				t.Fatal("it was not corrected")
			}
			if worst := errorsIn(Check(n, fixed, tokenBase)); len(worst) > 0 {
				t.Errorf("the corrected %s is still wrong: %v", fixed, worst)
			}
			if tc.fixed == "" && !sameParams(fixed, right) {
				t.Errorf("%s\nwas corrected to %s\nwant              %s", pasted, fixed, right)
			}
		})
	}
	if len(mistakes) < 30 {
		t.Errorf("only %d mistakes", len(mistakes))
	}
}

func tells(found []Finding, severity Severity, want []string) bool {
	for _, f := range found {
		all := f.Severity == severity
		for _, w := range want {
			all = all && strings.Contains(f.Text+"\n"+f.Fix, w)
		}
		if all {
			return true
		}
	}
	return false
}

func errorsIn(found []Finding) []Finding {
	var worst []Finding
	for _, f := range found {
		if f.Severity == Error {
			worst = append(worst, f)
		}
	}
	return worst
}

// sameParams tells whether two URLs are the same but for the parameters'
// order.
func sameParams(a, b string) bool {
	pa, qa, _ := strings.Cut(a, "?")
	pb, qb, _ := strings.Cut(b, "?")
	left := map[string]int{}
	for _, p := range strings.Split(qa, "&") {
		left[p]++
	}
	for _, p := range strings.Split(qb, "&") {
		left[p]--
	}
	for _, n := range left {
		if n != 0 {
			return false
		}
	}
	return pa == pb
}

// The URLs that we print ourselves are right.
func TestCheckOwn(t *testing.T) {
	t.Parallel()
	for _, n := range All() {
		u, err := n.PostbackURL(tokenBase, URLOptions{Currency: "EUR"})
		if err != nil {
			t.Errorf("%s: %v", n.Name, err)
			continue
		}
		if found := Check(n, u, tokenBase); len(found) > 0 {
			t.Errorf("%s: %s: %v", n.Name, u, found)
		}
		if fixed, ok := Correct(n, u, tokenBase); !ok || !sameParams(fixed, u) {
			t.Errorf("%s: %s was corrected to %s", n.Name, u, fixed)
		}
	}
	for name, u := range good {
		if found := Check(find(t, name), u, ourBase); len(found) > 0 {
			t.Errorf("%s: %s: %v", name, u, found)
		}
	}
}

// A macro of one network pasted into another is never passed over.
func TestCheckForeignMacros(t *testing.T) {
	t.Parallel()
	for _, n := range All() {
		for _, o := range All() {
			m := o.Macros["click_id"]
			if n.Webhook() || m == "" || n.knows(m) {
				continue
			}
			u, err := n.PostbackURL(ourBase, URLOptions{Currency: "EUR"})
			if err != nil {
				t.Fatal(err)
			}
			u = strings.Replace(u, "click_id="+n.Macros["click_id"], "click_id="+m, 1)
			if len(errorsIn(Check(n, u, ourBase))) == 0 {
				t.Errorf("%s's %s in %s's URL was passed over", o.Name, m, n.Name)
			}
		}
	}
}

func TestCheckWebhook(t *testing.T) {
	t.Parallel()
	n := find(t, "stripe")
	if found := Check(n, ourBase, ourBase); len(found) > 0 {
		t.Errorf("got %v", found)
	}
	found := Check(n, ourBase+"?click_id={sub1}", ourBase)
	if !tells(found, Error, []string{"fills in no macros", "bare address"}) {
		t.Errorf("got %v", found)
	}
	if fixed, ok := Correct(n, ourBase+"?click_id={sub1}", ourBase); !ok || fixed != ourBase {
		t.Errorf("corrected to %s", fixed)
	}
	// Awin sends by itself too, if it is told to POST.
	if found := Check(find(t, "awin"), ourBase, ourBase); !tells(found, Warning, []string{"by POST"}) {
		t.Errorf("got %v", found)
	}
}

func TestCheckLimits(t *testing.T) {
	t.Parallel()
	n := &Network{
		Name: "short", Title: "Short", Method: "GET", Style: "{}", URLLimit: 60, Link: Link{Parameter: "s1", Limit: 20},
		Macros: map[capture.Field]string{"click_id": "{s1}"},
	}
	found := Check(n, ourBase+"?click_id={s1}&x="+strings.Repeat("y", 60), ourBase)
	if !tells(found, Error, []string{"keeps 20 characters of s1", "has 26"}) || !tells(found, Error, []string{"takes up to 60"}) {
		t.Errorf("got %v", found)
	}
}

func TestCheckBase(t *testing.T) {
	t.Parallel()
	n := find(t, "affise")
	if found := Check(n, good["affise"], "example.com"); !tells(found, Error, []string{"our postback URL"}) {
		t.Errorf("got %v", found)
	}
	if fixed, ok := Correct(n, good["affise"], "example.com"); ok {
		t.Errorf("corrected to %s", fixed)
	}
	// A port that the scheme has anyhow, and parameters of the route itself.
	const base = "https://example.com:443/postback?site=2&token=***"
	pasted := strings.Replace(good["affise"], "?", "?site=2&", 1) + "&token=anything-goes"
	if found := Check(n, pasted, base); len(found) > 0 {
		t.Errorf("got %v", found)
	}
}

// No finding shows a token, neither ours nor the one that was pasted.
func TestCheckHidesTokens(t *testing.T) {
	t.Parallel()
	const base = ourBase + "?token=0ur-very-secret"
	for _, pasted := range []string{
		good["affise"] + "&token=th3ir-secret", ourBase + "&token=th3ir-secret", "https://example.com/postback;token=th3ir-secret",
		"https://example.com/0ur-very-secret?click_id=0ur-very-secret", good["affise"] + "&tokem=0ur-very-secret",
	} {
		for _, f := range Check(find(t, "affise"), pasted, base) {
			if all := f.Where + f.Text + f.Fix; strings.Contains(all, "th3ir-secret") || strings.Contains(all, "0ur-very-secret") {
				t.Errorf("%s: %+v", pasted, f)
			}
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, tc := range mistakes {
		if tc.old != "*" {
			f.Add(tc.network, strings.ReplaceAll(good[tc.network]+tokenEnd, tc.old, tc.new), tokenBase)
		}
	}
	f.Add("stripe", "https://example.com/postback?%7B=%7B&#&&=&token=%zz", ourBase)
	f.Add("cake", "#s2##s2##", "http://[::1]:80/?token=a&token=b")
	all := All()
	f.Fuzz(func(t *testing.T, name, pasted, base string) {
		n, err := Find(name)
		if err != nil {
			n = all[len(pasted)%len(all)]
		}
		for _, finding := range Check(n, pasted, base) {
			if finding.Text == "" || finding.Where == "" || len(finding.Text) > 2048 || strings.ContainsAny(finding.Text, "\r\n") {
				t.Errorf("finding %+v", finding)
			}
		}
		fixed, ok := Correct(n, pasted, base)
		if !ok {
			return
		}
		if worst := errorsIn(Check(n, fixed, base)); len(worst) > 0 && !onlyToken(worst) {
			t.Errorf("%q\nwas corrected to %q\nwhich has %v", pasted, fixed, worst)
		}
		again, _ := Correct(n, fixed, base)
		if !sameParams(again, fixed) {
			t.Errorf("%q\nwas corrected to %q\nand then to      %q", pasted, fixed, again)
		}
	})
}

// onlyToken: a token that nobody knows cannot be put right.
func onlyToken(found []Finding) bool {
	for _, f := range found {
		if f.Where != "parameter "+tokenParam && f.Where != "offer link" && !strings.Contains(f.Text, "takes up to") {
			return false
		}
	}
	return true
}
