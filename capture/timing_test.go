package capture

import (
	"crypto/sha256"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// constantTime are the functions by which secrets and signatures are compared.
var constantTime = []string{"hmac.Equal", "subtle.ConstantTimeCompare", "ed25519.Verify"}

// inVariableTime stop at the first difference, or say where it is.
var inVariableTime = []string{"bytes.Equal", "bytes.Compare", "bytes.HasPrefix", "bytes.EqualFold", "reflect.DeepEqual", "strings.Compare"}

// ofPublic are functions that compare what anybody can compute, sort names, or
// read the configuration.
var ofPublic = []string{"checkDigest", "NewStandardWebhooks", "sortedQuery"}

// How long a refusal takes must not tell how close a guess came. So the code
// says it, which no clock can: what is secret is compared in constant time
// only, and a loop of comparisons goes through all of them, whatever fits.
func TestComparisonsTellNothing(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("signature/*.go")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %q, %v", files, err)
	}
	compared := make(map[string]bool)
	for _, file := range append(files, "auth.go", "verify.go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || slices.Contains(ofPublic, f.Name.Name) {
				continue
			}
			eachCall(f, func(name string, at token.Pos) {
				if slices.Contains(inVariableTime, name) {
					t.Errorf("%s: %s calls %s: compare in constant time, or say here that it is public", set.Position(at), f.Name.Name, name)
				}
				if slices.Contains(constantTime, name) {
					compared[f.Name.Name] = true
				}
			})
			ast.Inspect(f, func(n ast.Node) bool {
				if at, early := endsEarly(n); early {
					t.Errorf("%s: %s leaves a loop of comparisons before its end", set.Position(at), f.Name.Name)
				}
				return true
			})
		}
	}
	if !compared["checkToken"] || !compared["fits"] || !compared["pinned"] || len(compared) < 4 {
		t.Errorf("compares are found in %v only: does this test still look at the right places?", compared)
	}
}

func eachCall(n ast.Node, visit func(name string, at token.Pos)) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if s, ok := call.Fun.(*ast.SelectorExpr); ok {
			if pkg, ok := s.X.(*ast.Ident); ok {
				visit(pkg.Name+"."+s.Sel.Name, call.Pos())
			}
		}
		return true
	})
}

// endsEarly finds a way out of a loop that compares.
func endsEarly(n ast.Node) (at token.Pos, early bool) {
	var body *ast.BlockStmt
	switch loop := n.(type) {
	case *ast.ForStmt:
		body = loop.Body
	case *ast.RangeStmt:
		body = loop.Body
	default:
		return 0, false
	}
	compares := false
	eachCall(body, func(name string, _ token.Pos) { compares = compares || slices.Contains(constantTime, name) })
	if !compares {
		return 0, false
	}
	ast.Inspect(body, func(n ast.Node) bool {
		switch s := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.ReturnStmt:
			at, early = s.Pos(), true
		case *ast.BranchStmt:
			if s.Tok != token.CONTINUE {
				at, early = s.Pos(), true
			}
		}
		return !early
	})
	return at, early
}

// What the time of a refusal can depend on is the hash of a guess, and one that
// is nearly right has a hash like any other.
func TestTokensAreComparedByHashes(t *testing.T) {
	t.Parallel()
	const right = "k7Q2-the-token-of-the-route-9fXw"
	rt := compiled(t, Route{Tokens: [][]byte{[]byte(right), []byte("x")}})
	if len(rt.tokens) != 2 || rt.tokens[0] != sha256.Sum256([]byte(right)) {
		t.Fatalf("the route keeps %d tokens, and not their hashes", len(rt.tokens))
	}
	want := rt.checkToken("", "something else entirely")
	for i := range len(right) {
		for _, guess := range []string{right[:i], right[:i] + "~" + right[i+1:], right + right[:i+1]} {
			if guess == "" {
				continue
			}
			if got := rt.checkToken("", guess); got == nil || *got != *want {
				t.Errorf("%q: got %v, want %v as for any other", guess, got, want)
			}
		}
	}
}

// BenchmarkTokenTiming measures how long guesses take that differ in nothing
// but how close they come. The ratio to one that is wrong from its first
// character should be about 1, as the ratio of two measurements of the same is.
func BenchmarkTokenTiming(b *testing.B) {
	const right = "k7Q2-the-token-of-the-route-9fXw"
	rt := compiled(b, Route{Tokens: [][]byte{[]byte(right)}})
	guesses := map[string]string{
		"first":  "~" + right[1:],
		"middle": right[:16] + "~" + right[17:],
		"last":   right[:31] + "~",
		"again":  "~" + right[1:],
	}
	took := make(map[string]time.Duration)
	for b.Loop() {
		for name, guess := range guesses {
			begin := time.Now()
			for range 1000 {
				if rt.checkToken("", guess) == nil {
					b.Fatal("a wrong token passed")
				}
			}
			// The fastest run is the one that nothing else on the machine held up.
			if d := time.Since(begin); took[name] == 0 || d < took[name] {
				took[name] = d
			}
		}
	}
	for _, name := range []string{"middle", "last", "again"} {
		b.ReportMetric(float64(took[name])/float64(took["first"]), name+"/first")
	}
}
