package attribution

import "testing"

func TestScaled(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		n      int64
		places uint8
		ok     bool
	}{
		"0": {0, 0, true}, "12.50": {1250, 2, true}, "-0.000000001": {-1, 9, true},
		"999999999999999999": {999999999999999999, 0, true}, "0.1234567890123456789": {}, "1000000000000000000": {},
	} {
		var a Amount
		if err := a.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		n, places, ok := a.Scaled()
		if n != want.n || places != want.places || ok != want.ok {
			t.Errorf("%s is %d, %d, %t; want %+v", text, n, places, ok, want)
		}
		if ok && !AmountOf(n, places).Equal(a) {
			t.Errorf("%s came back as %s", text, AmountOf(n, places))
		}
	}
}
