from django.shortcuts import render


def page(request):
    return render(request, "chat.html", {"room": request.GET.get("room", "lobby")})
