package capture

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture/signature"
)

// Of several values the first genuine click ID counts, wherever it stands; of
// several genuine ones the first.
func TestReceiveSeveralClickIDs(t *testing.T) {
	t.Parallel()
	ref := senderRef
	ref.Slot++
	other := senderCodec.Encode(ref)
	codes := func(values ...string) string { return `{"codes":["` + strings.Join(values, `","`) + `"]}` }
	many := func(n int) []string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprint("code-", i))
		}
		return list
	}
	for _, c := range []struct{ body, want string }{
		{codes(genuineID), genuineID},
		{codes("newsletter", genuineID), genuineID},
		{codes("user_42", other, genuineID), other},
		{codes(genuineID, other), genuineID},
		{codes(append(many(maxClickValues-1), genuineID)...), genuineID},
		{codes(append(many(maxClickValues), genuineID)...), "code-0"},
		{codes("newsletter", "x"), "newsletter"},
		{`{"codes":["a"],"meta":{"click_id":"` + genuineID + `"},"ref":"user_42"}`, genuineID},
		{`{"ref":"user_42","meta":{"click_id":"` + genuineID + `"}}`, genuineID},
		{`{"ref":"` + other + `","meta":{"click_id":"` + genuineID + `"}}`, genuineID},
		{`{"ref":"` + other + `","meta":{"click_id":"none"}}`, other},
	} {
		rt := compiled(t, Route{
			Tokens: [][]byte{[]byte("s")}, Fields: map[Field][]string{FieldClickID: {"codes.*", "meta.click_id", "ref"}},
		})
		r := postRequest("application/json", c.body)
		r.Header.Set("Authorization", "Bearer s")
		p := accepted(t, rt, r)
		if p.ClickID != c.want || p.HasRef != (len(c.want) == len(genuineID)) {
			t.Errorf("%s: got %q (%s)", c.body, p.ClickID, p.ProblemDetail)
		}
	}
}

// A kind's own parameters for the click are read in full as well.
func TestReceiveSeveralClickIDsOfKind(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Kinds: []Kind{{
		Name: "a", When: map[string][]string{"type": {"a"}}, Fields: map[Field][]string{FieldClickID: {"codes.*"}},
	}}})
	p := accepted(t, rt, postRequest("application/json", `{"type":"a","codes":["x","`+genuineID+`"]}`))
	if p.ClickID != genuineID || !p.HasRef {
		t.Errorf("got %q (%s)", p.ClickID, p.ProblemDetail)
	}
}

// What the shop put into a message in minor units is not in minor units.
func TestReceiveMajorAmounts(t *testing.T) {
	t.Parallel()
	fields := map[Field][]string{FieldPayout: {"meta.commission", "total"}}
	for _, c := range []struct{ body, want string }{
		{`{"total":4900,"cur":"EUR","meta":{"commission":"12"}}`, "12.00 EUR"},
		{`{"total":4900,"cur":"EUR"}`, "49.00 EUR"},
		{`{"total":4900,"back":1000,"cur":"EUR","meta":{"commission":"12"}}`, "2.00 EUR"},
	} {
		rt := compiled(t, Route{Fields: fields, Minor: true, Major: []string{"meta.commission"}, Kinds: []Kind{{
			Name: "sale", When: map[string][]string{"cur": {"*"}}, Less: []string{"back"},
		}}})
		r := postRequest("application/json", c.body)
		r.URL.RawQuery, r.RequestURI = "click_id="+genuineID, "/postback?click_id="+genuineID
		if p := accepted(t, rt, r); p.Problem != "" || p.Claim.Payout.String() != c.want {
			t.Errorf("%s: got %s (%s)", c.body, p.Claim.Payout, p.ProblemDetail)
		}
	}
	if err := (&Route{Major: []string{"a?"}}).Compile(); err == nil || !strings.Contains(err.Error(), "major units") {
		t.Errorf("got %v", err)
	}
}

// sealed is a sender that enciphers: turned round, the body is what it says.
type sealed struct{ signedPart }

func (sealed) Decode(body []byte) (plain []byte, contentType string, err error) {
	if len(body) < 2 || body[0] != '#' {
		return nil, "", fmt.Errorf("it cannot be decrypted")
	}
	return body[1:], "application/json", nil
}

// signedPart is a sender that signs all but one part.
type signedPart struct{ unsigned signature.Part }

func (signedPart) Name() string { return "test" }

func (s signedPart) Verify(*signature.Message) (signature.Proof, error) {
	return signature.Proof{Unsigned: s.unsigned}, nil
}

// What is missing is named as the owner of the site would see it.
func TestMissingClickIDOfSigned(t *testing.T) {
	t.Parallel()
	query := signedPart{signature.PartQuery}
	for _, c := range []struct {
		verifier       signature.Verifier
		query, body    string
		want, wantNone string
	}{
		{sealed{query}, "", `#{"receipt":"R","transactionType":"SALE"}`, `the decrypted message has "receipt", "transactionType"`, "no parameters"},
		{sealed{query}, "", `#{}`, "the decrypted message has no parameters at all", ""},
		{sealed{query}, "", `#{"visitor":"` + genuineID + `"}`, "fields { click_id visitor }", "no parameters"},
		{query, "click_id=" + genuineID, `{"a":1}`, `the parameter "click_id" in the query holds a click ID of this site, but the sender's signature ` +
			"does not cover the query: have it put into the body", "fields {"},
		{query, "click_id=" + genuineID, `{"click_id":"x"}`, "does not cover the query: have it put into the body", "fields {"},
		{query, "a=1", `{"b":1}`, `the postback has "b"; nothing is read from the query`, `"a"`},
		{signedPart{signature.PartBody}, "a=1", `{"click_id":"` + genuineID + `"}`, "have it put into the query", "fields {"},
		{query, "", `{"a":"` + strings.Repeat("x", maxScanned) + `"}`, "no click ID: it is looked for in", "no parameters"},
	} {
		rt := compiled(t, Route{Verifiers: []signature.Verifier{c.verifier}})
		r := postRequest("application/json", c.body)
		r.URL.RawQuery, r.RequestURI = c.query, "/postback?"+c.query
		p := accepted(t, rt, r)
		if !strings.Contains(p.ProblemDetail, c.want) || c.wantNone != "" && strings.Contains(p.ProblemDetail, c.wantNone) {
			t.Errorf("%s %s: got %s", c.query, c.body, p.ProblemDetail)
		}
	}
}
