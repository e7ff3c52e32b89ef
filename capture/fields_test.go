package capture

import "testing"

// The order of names goes first, then query before body, then the exact name
// before the same in other case.
func TestReceivePrecedence(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Fields: map[Field][]string{FieldTxID: {"one", "two"}}})
	for _, c := range []struct{ query, body, want string }{
		{"two=2&one=1", "", "1"},
		{"two=2&one=", "", "2"},
		{"two=2", "one=1", "1"},
		{"two=2&ONE=1", "", "1"},
		{"ONE=fold&one=exact", "", "exact"},
		{"one=exact&ONE=fold", "", "exact"},
		{"ONE=fold", "one=body", "fold"},
		{"one=%20", "ONE=fold&one=exact", "exact"},
		{"one=first&one=second", "", "first"},
		{"one=&one=second", "", "second"},
		{"one=", `{"ONE":"fold","one":7}`, "7"},
		{"", `{"one":null,"two":false}`, "false"},
		{"", `{"one":{"x":1},"two":["x"]}`, ""},
		{"one", "", ""},
	} {
		r := postRequest("", c.body)
		r.URL.RawQuery = fill("click_id=CLICK&") + c.query
		r.RequestURI = r.URL.RequestURI()
		if got := accepted(t, rt, r).Claim.TxID; got != c.want {
			t.Errorf("%q %q: got %q, want %q", c.query, c.body, got, c.want)
		}
	}
}
