"""Codes with a standard: currencies (ISO 4217), countries (ISO 3166-1), merchant categories, IP addresses.

With two spellings of one code, a payment could escape a limit, a list or a velocity rule. Events carry exactly one
spelling (vedette.events refuses the others); codes in files and policies are converted to it here.
"""

import re
import socket
from collections.abc import Mapping
from typing import Final

from vedette.errors import InputError

_CURRENT: Final = """
    AED784 AFN971 ALL008 AMD051 AOA973 ARS032 AUD036 AWG533 AZN944 BAM977 BBD052 BDT050 BHD048 BIF108 BMD060
    BND096 BOB068 BOV984 BRL986 BSD044 BTN064 BWP072 BYN933 BZD084 CAD124 CDF976 CHE947 CHF756 CHW948 CLF990
    CLP152 CNY156 COP170 COU970 CRC188 CUP192 CVE132 CZK203 DJF262 DKK208 DOP214 DZD012 EGP818 ERN232 ETB230
    EUR978 FJD242 FKP238 GBP826 GEL981 GHS936 GIP292 GMD270 GNF324 GTQ320 GYD328 HKD344 HNL340 HTG332 HUF348
    IDR360 ILS376 INR356 IQD368 IRR364 ISK352 JMD388 JOD400 JPY392 KES404 KGS417 KHR116 KMF174 KPW408 KRW410
    KWD414 KYD136 KZT398 LAK418 LBP422 LKR144 LRD430 LSL426 LYD434 MAD504 MDL498 MGA969 MKD807 MMK104 MNT496
    MOP446 MRU929 MUR480 MVR462 MWK454 MXN484 MXV979 MYR458 MZN943 NAD516 NGN566 NIO558 NOK578 NPR524 NZD554
    OMR512 PAB590 PEN604 PGK598 PHP608 PKR586 PLN985 PYG600 QAR634 RON946 RSD941 RUB643 RWF646 SAR682 SBD090
    SCR690 SDG938 SEK752 SGD702 SHP654 SLE925 SOS706 SRD968 SSP728 STN930 SVC222 SYP760 SZL748 THB764 TJS972
    TMT934 TND788 TOP776 TRY949 TTD780 TWD901 TZS834 UAH980 UGX800 USD840 USN997 UYI940 UYU858 UYW927 UZS860
    VED926 VES928 VND704 VUV548 WST882 XAD396 XAF950 XCD951 XCG532 XOF952 XPF953 YER886 ZAR710 ZMW967 ZWG924
"""  # ISO 4217 list one of 2026-01-01: alphabetic and numeric code; without metals, units of account and test codes

_WITHDRAWN: Final = """
    ANG532 AZM031 BGN975 BYR974 CSD891 CUC931 CYP196 EEK233 GHC288 HRK191 LTL440 LVL428 MRO478 MTL470 MZM508
    ROL642 SDD736 SIT705 SKK703 SLL694 STD678 TMM795 TRL792 VEB862 VEF937 ZMK894 ZWD716 ZWL932
"""  # ISO 4217 list three, withdrawn since 2005: payments of those years are still replayed and trained on

_COUNTRIES: Final = """
    ADAND020 AEARE784 AFAFG004 AGATG028 AIAIA660 ALALB008 AMARM051 AOAGO024 AQATA010 ARARG032 ASASM016 ATAUT040
    AUAUS036 AWABW533 AXALA248 AZAZE031 BABIH070 BBBRB052 BDBGD050 BEBEL056 BFBFA854 BGBGR100 BHBHR048 BIBDI108
    BJBEN204 BLBLM652 BMBMU060 BNBRN096 BOBOL068 BQBES535 BRBRA076 BSBHS044 BTBTN064 BVBVT074 BWBWA072 BYBLR112
    BZBLZ084 CACAN124 CCCCK166 CDCOD180 CFCAF140 CGCOG178 CHCHE756 CICIV384 CKCOK184 CLCHL152 CMCMR120 CNCHN156
    COCOL170 CRCRI188 CUCUB192 CVCPV132 CWCUW531 CXCXR162 CYCYP196 CZCZE203 DEDEU276 DJDJI262 DKDNK208 DMDMA212
    DODOM214 DZDZA012 ECECU218 EEEST233 EGEGY818 EHESH732 ERERI232 ESESP724 ETETH231 FIFIN246 FJFJI242 FKFLK238
    FMFSM583 FOFRO234 FRFRA250 GAGAB266 GBGBR826 GDGRD308 GEGEO268 GFGUF254 GGGGY831 GHGHA288 GIGIB292 GLGRL304
    GMGMB270 GNGIN324 GPGLP312 GQGNQ226 GRGRC300 GSSGS239 GTGTM320 GUGUM316 GWGNB624 GYGUY328 HKHKG344 HMHMD334
    HNHND340 HRHRV191 HTHTI332 HUHUN348 IDIDN360 IEIRL372 ILISR376 IMIMN833 ININD356 IOIOT086 IQIRQ368 IRIRN364
    ISISL352 ITITA380 JEJEY832 JMJAM388 JOJOR400 JPJPN392 KEKEN404 KGKGZ417 KHKHM116 KIKIR296 KMCOM174 KNKNA659
    KPPRK408 KRKOR410 KWKWT414 KYCYM136 KZKAZ398 LALAO418 LBLBN422 LCLCA662 LILIE438 LKLKA144 LRLBR430 LSLSO426
    LTLTU440 LULUX442 LVLVA428 LYLBY434 MAMAR504 MCMCO492 MDMDA498 MEMNE499 MFMAF663 MGMDG450 MHMHL584 MKMKD807
    MLMLI466 MMMMR104 MNMNG496 MOMAC446 MPMNP580 MQMTQ474 MRMRT478 MSMSR500 MTMLT470 MUMUS480 MVMDV462 MWMWI454
    MXMEX484 MYMYS458 MZMOZ508 NANAM516 NCNCL540 NENER562 NFNFK574 NGNGA566 NINIC558 NLNLD528 NONOR578 NPNPL524
    NRNRU520 NUNIU570 NZNZL554 OMOMN512 PAPAN591 PEPER604 PFPYF258 PGPNG598 PHPHL608 PKPAK586 PLPOL616 PMSPM666
    PNPCN612 PRPRI630 PSPSE275 PTPRT620 PWPLW585 PYPRY600 QAQAT634 REREU638 ROROU642 RSSRB688 RURUS643 RWRWA646
    SASAU682 SBSLB090 SCSYC690 SDSDN729 SESWE752 SGSGP702 SHSHN654 SISVN705 SJSJM744 SKSVK703 SLSLE694 SMSMR674
    SNSEN686 SOSOM706 SRSUR740 SSSSD728 STSTP678 SVSLV222 SXSXM534 SYSYR760 SZSWZ748 TCTCA796 TDTCD148 TFATF260
    TGTGO768 THTHA764 TJTJK762 TKTKL772 TLTLS626 TMTKM795 TNTUN788 TOTON776 TRTUR792 TTTTO780 TVTUV798 TWTWN158
    TZTZA834 UAUKR804 UGUGA800 UMUMI581 USUSA840 UYURY858 UZUZB860 VAVAT336 VCVCT670 VEVEN862 VGVGB092 VIVIR850
    VNVNM704 VUVUT548 WFWLF876 WSWSM882 YEYEM887 YTMYT175 ZAZAF710 ZMZMB894 ZWZWE716
"""  # ISO 3166-1 of 2026: alpha-2, alpha-3 and numeric code

_PLACES: Final = {
    **dict.fromkeys(
        [
            "BIF",
            "BYR",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}

CURRENCIES: Final[Mapping[str, int]] = {
    entry[:3]: _PLACES.get(entry[:3], 2) for entry in sorted((_CURRENT + _WITHDRAWN).split())
}
"""Decimal places of each currency (ISO 4217), by its alphabetic code."""

COUNTRIES: Final = (*sorted(entry[:2] for entry in _COUNTRIES.split()), "XK")
"""ISO 3166-1 alpha-2 codes, and XK, which banks use for Kosovo."""

# Of two currencies with one number (ANG and its successor XCG), the one in circulation is used.
_CURRENCY_OF: Final = {entry[3:]: entry[:3] for entry in (_WITHDRAWN + _CURRENT).split()} | {c: c for c in CURRENCIES}
_COUNTRY_OF: Final = {
    **{spelling: entry[:2] for entry in _COUNTRIES.split() for spelling in (entry[:2], entry[2:5], entry[5:])},
    "XK": "XK",
    "XKX": "XK",
    "UK": "GB",
    "EL": "GR",  # exceptionally reserved, and used by the European Union
}
_CATEGORY: Final = re.compile(r"[0-9]{1,4}")
_MAPPED: Final = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, an IPv4 address in IPv6 form (RFC 4291, section 2.5.5.2)


def currency_code(text: str) -> str:
    """Return the ISO 4217 alphabetic code for one in any case, or for a numeric code such as 392 or 36.

    Raises:
        InputError: There is no such currency.
    """
    code = _CURRENCY_OF.get(_number(text, 3)) or _CURRENCY_OF.get(text.strip().upper())
    if code is None:
        raise InputError(f"{text!r} is not an ISO 4217 currency", remedy="write its code, such as EUR")
    return code


def country_code(text: str) -> str:
    """Return the ISO 3166-1 alpha-2 code for an alpha-2 or alpha-3 code in any case, or for a numeric code.

    Raises:
        InputError: There is no such country.
    """
    code = _COUNTRY_OF.get(_number(text, 3)) or _COUNTRY_OF.get(text.strip().upper())
    if code is None:
        raise InputError(f"{text!r} is not an ISO 3166-1 country", remedy="write its two-letter code, such as FR")
    return code


def merchant_category(text: str) -> str:
    """Return the four digits of an ISO 18245 code, which has often lost its leading zeros in a file.

    Raises:
        InputError: It is not one to four digits.
    """
    code = _number(text, 4)
    if len(code) != 4:
        raise InputError(f"{text!r} is not an ISO 18245 category code", remedy="write its four digits, such as 5411")
    return code


def ip_address(text: str) -> str:
    """Return the canonical text of an IP address: dotted IPv4, or IPv6 as in RFC 5952; IPv4 in IPv6 form is IPv4.

    Raises:
        InputError: It is not an IP address (a port, zone or prefix length is not part of one).
    """
    try:
        if ":" not in text:
            return socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, text))
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{text!r} is not an IP address", remedy="write it like 192.0.2.1 or 2001:db8::1, without a port"
        ) from error
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)


def _number(text: str, digits: int) -> str:
    """Return a number with its leading zeros, '' if it is not one; spreadsheets and pandas write 840 as 840.0."""
    plain = text.strip().removesuffix(".0")
    return plain.zfill(digits) if _CATEGORY.fullmatch(plain) else ""
