/*
   Families of obfuscators and loaders in Python members (`.py`, `.pyw`, `.pth`).

   A match is advice, not a verdict: each rule is what hidden code needs and honest code hardly ever has. `about` ends
   the sentence that the uploader reads. A member is matched in slices that overlap by 4 KiB: a match is shorter, and the
   strings of one rule lie close together. No rule may match Python's standard library (tests/unit/formats/test_scan.py).
*/

rule executes_decoded_text {
    meta:
        about = "it decodes a text and executes what comes out"
    strings:
        $decode = /\b(exec|eval)\s{0,8}\(\s{0,8}((__import__|compile|bytes|str|getattr|globals)\b[^\n]{0,60})?[\w.()'"\[\], ]{0,60}\b(b16|b32|b64|a85|b85|standard_b64|urlsafe_b64)decode\s{0,8}\(/
        $unpack = /\b(exec|eval)\s{0,8}\(\s{0,8}((__import__|compile|bytes|str|getattr|globals)\b[^\n]{0,60})?[\w.()'"\[\], ]{0,60}\b(decompress|unhexlify|fromhex)\s{0,8}\(/
    condition:
        any of them
}

rule executes_marshalled_code {
    meta:
        about = "it executes compiled code that it carries as data"
    strings:
        $exec = /\b(exec|eval)\s{0,8}\(\s{0,8}(__import__\s{0,8}\(\s{0,8}['"]marshal['"]\s{0,8}\)|marshal)\s{0,8}\.\s{0,8}loads\s{0,8}\(/
    condition:
        $exec
}

rule executes_downloaded_text {
    meta:
        about = "it downloads a text and executes it"
    strings:
        $exec = /\b(exec|eval)\s{0,8}\(\s{0,8}[\w.()'" ]{0,60}\b(urlopen|requests\s{0,8}\.\s{0,8}get|httpx\s{0,8}\.\s{0,8}get|urlretrieve)\s{0,8}\(/
    condition:
        $exec
}

rule executes_joined_characters {
    meta:
        about = "it puts a text together from numbers and executes it"
    strings:
        $join = /\b(exec|eval)\s{0,8}\(\s{0,8}(str\s{0,8}\()?\s{0,8}['"]{2}\s{0,8}\.\s{0,8}join\s{0,8}\(\s{0,8}[\[(]?\s{0,8}(map\s{0,8}\(\s{0,8})?chr\b/
        $sum = /\b(exec|eval)\s{0,8}\(\s{0,8}chr\s{0,8}\(\s{0,8}\d{1,3}\s{0,8}\)\s{0,8}\+\s{0,8}chr\s{0,8}\(/
    condition:
        any of them
}

rule reversed_base64_lambda {
    meta:
        about = "it unpacks itself with a lambda that reads a text backwards"
    strings:
        $lambda = /lambda\s{1,8}\w{1,40}\s{0,8}:\s{0,8}__import__\s{0,8}\(\s{0,8}['"](zlib|base64|marshal|lzma|bz2)['"]\s{0,8}\)\s{0,8}\.\s{0,8}\w{1,20}\s{0,8}\(/
        $backwards = "[::-1]"
    condition:
        all of them
}

rule code_far_to_the_right {
    meta:
        about = "a line has code far to the right, where an editor does not show it"
    strings:
        $far = /[\n;][^\n#'"]{0,120}[ \t]{160,2000};?[ \t]{0,8}(exec|eval|__import__|import|from)\b[ (]/
    condition:
        $far
}

rule encoded_powershell {
    meta:
        about = "it starts PowerShell with an encoded command"
    strings:
        // A class of blank, both quotes and comma alone matches the blank alone in YARA-X 1.23; with a fifth it is right.
        $encoded = /powershell(\.exe)?['", =]{1,4}[^\n]{0,80}-(e|ec|enc|encodedcommand)['", =]{1,4}[A-Za-z0-9+\/=]{40}/ nocase
    condition:
        $encoded
}

rule pyarmor {
    meta:
        about = "it is obfuscated by PyArmor"
    strings:
        $old = "__pyarmor__(__name__, __file__, b"
        $new = /from\s{1,8}[\w.]{0,60}pyarmor_runtime[\w.]{0,40}\s{1,8}import\s{1,8}__pyarmor__/
    condition:
        any of them
}
